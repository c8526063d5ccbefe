"""The textbook network: convolve, ReLU, pool; again; flatten; fully connected layers. Small enough to follow every number through it.

What each layer does to the shape (channels, height, width) of one image:

- A 3x3 convolution slides a 3x3 window over the image. Without padding the window must lie inside, so one pixel is lost
  on every side: (c, h, w) -> (channels, h - 2, w - 2). Each output channel has its own 3 x 3 x c weights and one bias.
- ReLU, max(x, 0), changes no shape and has no weights. Without it, the layers would collapse into one linear map.
- 2x2 max pooling with stride 2 keeps the largest of each 2x2 square: (c, h, w) -> (c, h // 2, w // 2); an odd last row or column is dropped.
- Flatten writes all values in one row: (c, h, w) -> (c * h * w).
- A fully connected (linear) layer weighs every input for every output: (n) -> (m), with n * m weights and m biases.
- The last layer gives one logit a class. Softmax or sigmoid turn logits into scores; that is the ModelSpec's Postprocess, not the network's.

Worked through for grey 28 x 28 images (Fashion-MNIST), ten classes and the default options:

    layer                    shape after it      parameters
    input                     1 x 28 x 28
    convolution 3x3, 16      16 x 26 x 26        3*3*1*16  + 16  =     160
    ReLU                     16 x 26 x 26
    max pooling 2x2          16 x 13 x 13
    convolution 3x3, 32      32 x 11 x 11        3*3*16*32 + 32  =   4,640
    ReLU                     32 x 11 x 11
    max pooling 2x2          32 x  5 x  5
    flatten                  800
    linear, 128              128                 800*128   + 128 = 102,528
    ReLU                     128
    linear, 10               10                  128*10    + 10  =   1,290
                                                           total = 108,618
"""

from __future__ import annotations

from torch import Tensor, nn

from edgecnn.errors import UsageError
from edgecnn.train.nets._layers import check_dropout, check_positive, initialise


class SimpleCNN(nn.Module):
    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        channels: tuple[int, ...],
        convs_per_block: int,
        hidden: tuple[int, ...],
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        depth = in_channels
        for width in channels:
            for _ in range(convs_per_block):
                layers.append(nn.Conv2d(depth, width, kernel_size=3))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU())
                depth = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)

        height, width = size_after(input_size, blocks=len(channels), convs_per_block=convs_per_block)
        values = depth * height * width
        layers = []
        for units in hidden:
            layers += [nn.Linear(values, units), nn.ReLU(), nn.Dropout(dropout)]
            values = units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(values, num_classes)
        initialise(self, head=self.head)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x.flatten(1)
        x = self.hidden(x)
        logits: Tensor = self.head(x)
        return logits


def size_after(input_size: tuple[int, int], *, blocks: int, convs_per_block: int) -> tuple[int, int]:
    """(height, width) behind the last pooling. Raises UsageError where nothing would be left of the image."""
    height, width = input_size
    lost = 2 * convs_per_block
    for block in range(1, blocks + 1):
        if min(height, width) < lost + 2:
            raise UsageError(
                f"{input_size[0]} x {input_size[1]} images are too small for simplecnn with {blocks} blocks: block {block} gets "
                f"{height} x {width} pixels and needs at least {lost + 2} x {lost + 2}; use larger images or fewer blocks (entries of channels)."
            )
        height, width = (height - lost) // 2, (width - lost) // 2
    return height, width


def build(
    *,
    num_classes: int,
    in_channels: int,
    input_size: tuple[int, int],
    channels: tuple[int, ...] = (16, 32),
    convs_per_block: int = 1,
    hidden: tuple[int, ...] = (128,),
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """The textbook network for images of input_size = (height, width).

    channels: output channels of each block's convolutions; one block, ending in a pooling, an entry;
    convs_per_block: convolutions (each with its ReLU) before a pooling;
    hidden: units of each fully connected layer before the last; may be empty;
    dropout: the share of hidden units switched off at random in training;
    batch_norm: normalise after each convolution; trains faster and a little better, and export folds it away.
    Raises UsageError for an image too small for that many blocks, or numbers that make no network.
    """
    if not channels:
        raise UsageError("simplecnn's option channels is empty; give at least one number, such as [16, 32].")
    check_positive("simplecnn", channels=min(channels), convs_per_block=convs_per_block, hidden=min(hidden, default=1))
    check_dropout("simplecnn", dropout)
    return SimpleCNN(
        num_classes=num_classes,
        in_channels=in_channels,
        input_size=input_size,
        channels=channels,
        convs_per_block=convs_per_block,
        hidden=hidden,
        dropout=dropout,
        batch_norm=batch_norm,
    )
