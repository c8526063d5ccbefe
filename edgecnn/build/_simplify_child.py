"""The child of simplify.py: `python _simplify_child.py IN.onnx OUT.onnx`. A file of its own, so that it imports nothing of ours and never torch."""

import sys

sys.path.pop(0)  # this folder: its file names must not stand before other packages' modules
sys.modules["torch"] = None  # type: ignore[assignment]  # onnxsim imports torch where it is installed, for seconds, and doesn't need it


def main(source: str, target: str) -> None:
    import onnx
    import onnxsim

    model, good = onnxsim.simplify(onnx.load(source))
    if not good:
        sys.exit("onnxsim's own check of its result failed")
    with open(target, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
