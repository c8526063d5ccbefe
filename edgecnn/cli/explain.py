"""Show how a model sees an image: each layer as pictures, with the numbers behind every pixel."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli import _complete
from edgecnn.cli._model import model_argument
from edgecnn.cli._options import threads_option
from edgecnn.cli._trust import trust_options

if TYPE_CHECKING:
    from edgecnn.artifact.spec import Preprocess
    from edgecnn.report.explain.subject import Picture

_PATH = click.Path(path_type=Path)


@click.command(epilog="Example: edgecnn explain resnet8.edgecnn cat.jpg -o cat.html")
@model_argument
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", shell_complete=_complete.path)
@click.option("-o", "--output", type=_PATH, required=True, metavar="PAGE", help="The page to write, e.g. cat.html.")
@click.option("--compare", type=_PATH, metavar="OTHER", help="The same network in another form, shown beside FILE, e.g. resnet8-int8.edgecnn.")
@threads_option
@trust_options
def command(file: Path, images: tuple[str, ...], output: Path, compare: Path | None, threads: int | None, trust_key: Path | None) -> None:
    """Write a page that shows how the model in FILE comes from each IMAGE to its decision.

    The page is one HTML file that opens in any browser and needs no network. It shows the image after each step of preprocessing; every layer as
    pictures, with what it does to the shape; for each pixel of a feature map the window it came from, the weights, the products and their sum;
    logits and scores; and what the decision rested on (a class-activation map where the network ends in global average pooling, else what covering
    parts of the image changes). All numbers are this model's own, and each layer's formula is computed again to check them.

    With --compare OTHER, e.g. FILE in float32 and OTHER in int8, each layer shows both and their difference.

    \b
    An IMAGE is
      an image      of any common format
      a folder      all images in it and below, sorted
      an .npy file  uint8 pixels in RGB, or float32 model inputs, as for `edgecnn run`
      -             one image on standard input

    At most 16 images go into a page. One that can't be read is a line on standard error, the others go on, and the exit code is 5; it is 3, and no
    page is written, when there was none to go on with. It needs the extra report: pip install 'edgecnn[report]'.
    """
    from edgecnn.artifact.files import write_atomic
    from edgecnn.cli._options import note, put, require_extra
    from edgecnn.cli._progress import progress_line
    from edgecnn.device.model import unvalidated_notice
    from edgecnn.errors import InputRefused, SomeFailed
    from edgecnn.sign import open_trusted

    with require_extra("report"):
        import onnx  # noqa: F401

        from edgecnn.report.explain import explain
        from edgecnn.report.explain.subject import open_subject
        from edgecnn.report.page import environment

        environment()
    _check_output(output, file, compare, images)
    with ExitStack() as opened:
        subjects = []
        for path in (file, compare):
            if path is not None:
                bundle = opened.enter_context(open_trusted(path, trust_key))
                notice = unvalidated_notice(path, bundle.manifest)
                if notice:
                    note(notice)
                subjects.append(open_subject(bundle, name=path.name, threads=threads))
    pictures, failed = _read(images, subjects[0].spec.preprocess)
    if not pictures:
        click.get_current_context().exit(InputRefused.exit_code)
    with progress_line() as show:
        page = explain(
            subjects[0],
            pictures,
            other=subjects[1] if compare is not None else None,
            progress=lambda done, total: show(f"{done} of {total} images"),
        )
    write_atomic(output, page.encode())
    put(f"{output}, {len(page.encode()):,} bytes")
    if failed:
        raise SomeFailed(f"{failed} of {failed + len(pictures)} inputs could not be used, the rest are in {output}.")


def _check_output(output: Path, file: Path, compare: Path | None, images: tuple[str, ...]) -> None:
    """Raises UsageError where the page would take the place of what it is made from."""
    import os

    from edgecnn.errors import UsageError

    for given in (file, compare, *(image for image in images if image != "-")):
        if given is not None and os.path.exists(output) and os.path.exists(given) and os.path.samefile(output, given):
            raise UsageError(f"{output} is read for this page and would be replaced; give the page another name, e.g. {output.stem}.html.")


def _read(images: tuple[str, ...], pre: Preprocess) -> tuple[list[Picture], int]:
    """(what can be used, how many can't). Raises UsageError for more than a page takes."""
    from edgecnn.cli._inputs import find_inputs
    from edgecnn.cli._options import note
    from edgecnn.errors import InputRefused, UsageError
    from edgecnn.report.explain import MOST_IMAGES
    from edgecnn.report.explain.subject import read_picture

    found: list[Picture] = []
    failed = 0
    for item in find_inputs(images):
        if len(found) + failed >= MOST_IMAGES:
            raise UsageError(f"more than {MOST_IMAGES} images were given, and a page takes {MOST_IMAGES}; name those that are to be explained.")
        try:
            found.append(read_picture(item.read, pre, name=item.title or item.name, ready=item.ready))
        except InputRefused as error:
            note(str(error))
            failed += 1
    return found, failed
