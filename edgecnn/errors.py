"""Every error that edgecnn raises on purpose, and the exit code that the command line gives it.

    EdgecnnError
    ├── CheckFailed               1   a check was made and fell short
    │   ├── ParityFailed              the answers are not the source network's
    │   ├── AccuracyFailed            accuracy is under what was asked for
    │   └── BenchmarkInvalid          the timing can't be trusted
    ├── UsageError                2   the request itself is wrong
    │   └── RecipeError               a recipe that says something unknown or impossible
    ├── InputRefused              3   something that was handed in is refused or missing
    │   ├── InputMissing              no such file
    │   ├── ArtifactRejected          not a whole, honest .edgecnn file
    │   │   ├── ManifestRejected      its manifest breaks the rules
    │   │   ├── GraphRejected         its ONNX graph (or a bare .onnx) breaks the rules
    │   │   ├── SignatureRejected     not the file that the holder of the key signed
    │   │   └── ModelRejected         it crashed, hung, ran out of memory or answered wrongly when it was tried
    │   ├── KeyRejected               not a key that can sign, or verify, here
    │   ├── ImageRejected             not a picture that can be read
    │   ├── DataRejected              a collection of images that can't be used
    │   ├── RecordRejected            measurements that can't be read, or are another model's
    │   ├── CheckpointRejected        weights that don't belong, aren't finite, or aren't safetensors
    │   ├── SourceRejected            a network that can't be exported
    │   ├── TargetRejected            no profile or probe of a device
    │   └── StoreError                what a store was asked for isn't there, or it doesn't do that
    │       └── DowngradeRefused          a version whose sequence is lower than the active one's
    ├── MissingHere               4   this machine lacks something
    │   ├── ExtraMissing              an optional dependency; the message holds the pip line
    │   ├── ProviderMissing           an execution provider or engine
    │   ├── CpuUnfit                  a CPU whose int8 arithmetic changes a model's answers
    │   ├── DownloadFailed            no network, or other bytes than promised
    │   ├── DeviceMissing             a device over ssh that can't be reached, was lost, or lacks this edgecnn
    │   ├── StoreBusy                 another process is changing the store
    │   └── OutputNotWritable         no permission or no space; what stood there still stands
    └── SomeFailed                5   some inputs of many failed, the rest were done

A message is one sentence or two: what was found, what was wanted, what to do; where a page of docs/ helps on, the command line names it.
70 is a bug of ours, 130 an interrupt; neither is raised from here.
"""

from __future__ import annotations


class EdgecnnError(Exception):
    """The root: `except edgecnn.EdgecnnError` catches all that edgecnn raises on purpose."""

    exit_code = 70
    page = ""
    """The page that helps on, from the root of the repository."""


class CheckFailed(EdgecnnError):
    exit_code = 1


class ParityFailed(CheckFailed):
    page = "docs/why-is-my-int8-model-wrong.md"


class AccuracyFailed(CheckFailed):
    page = "docs/why-is-my-int8-model-wrong.md"


class BenchmarkInvalid(CheckFailed):
    page = "docs/why-is-my-int8-model-slow.md"


class UsageError(EdgecnnError):
    exit_code = 2


class RecipeError(UsageError):
    pass


class InputRefused(EdgecnnError):
    exit_code = 3


class InputMissing(InputRefused):
    pass


class ArtifactRejected(InputRefused):
    page = "docs/artifact-format.md"


class ManifestRejected(ArtifactRejected):
    pass


class GraphRejected(ArtifactRejected):
    pass


class ModelRejected(ArtifactRejected):
    page = "docs/trust.md"


class SignatureRejected(ArtifactRejected):
    page = "docs/trust.md"


class KeyRejected(InputRefused):
    page = "docs/trust.md"


class ImageRejected(InputRefused):
    pass


class DataRejected(InputRefused):
    page = "docs/bring-your-own-model.md"


class RecordRejected(InputRefused):
    pass


class CheckpointRejected(InputRefused):
    pass


class SourceRejected(InputRefused):
    page = "docs/bring-your-own-model.md"


class TargetRejected(InputRefused):
    page = "docs/targets.md"


class StoreError(InputRefused):
    page = "docs/trust.md"


class DowngradeRefused(StoreError):
    pass


class MissingHere(EdgecnnError):
    exit_code = 4


class ExtraMissing(MissingHere):
    @classmethod
    def of(cls, package: str, extra: str) -> ExtraMissing:
        """The one sentence for a package that an extra brings."""
        return cls(f"{package} isn't installed, and this needs it; run: pip install 'edgecnn[{extra}]'")


class ProviderMissing(MissingHere):
    pass


class CpuUnfit(MissingHere):
    page = "docs/targets.md"


class DownloadFailed(MissingHere):
    pass


class DeviceMissing(MissingHere):
    page = "docs/remote.md"


class StoreBusy(MissingHere):
    pass


class OutputNotWritable(MissingHere):
    pass


class SomeFailed(EdgecnnError):
    exit_code = 5
