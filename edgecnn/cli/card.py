"""Write a model card: what an artifact is, how accurate, how it was proved and made."""

from __future__ import annotations

from pathlib import Path

import click

from edgecnn.cli._options import artifact_argument, threads_option

_PATH = click.Path(path_type=Path)


@click.command(epilog="Example: edgecnn card flowers-1.0.0.edgecnn --float32 flowers-float32.edgecnn --data photos/test --about about.md -o card.md")
@artifact_argument
@click.option(
    "--float32", type=_PATH, metavar="FILE", help="The same model exported with --quantize none, to compare with, e.g. flowers-float32.edgecnn."
)
@click.option("--data", type=_PATH, help="Images with labels, to measure the accuracy on, e.g. photos/test.")
@click.option("--data-name", metavar="TEXT", help="What the card calls them, e.g. 'the test set'.  [default: the name of DATA]")
@click.option("--about", type=_PATH, metavar="FILE", help="Markdown that says what only you know: Intended use, Data, Limits, ..., e.g. about.md.")
@click.option("--recipe", type=_PATH, metavar="FILE", help="The recipe it was made from, to state its sha256, e.g. recipe.toml.")
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="The card to write, e.g. card.md.  [default: standard output]")
@threads_option
def command(
    file: Path,
    float32: Path | None,
    data: Path | None,
    data_name: str | None,
    about: Path | None,
    recipe: Path | None,
    output: Path | None,
    threads: int | None,
) -> None:
    """Write a model card for FILE, as Markdown.

    It states accuracy on DATA with 95 % intervals (next to float32 on the same images), parity with the source network, sizes, preprocessing,
    provenance and licences. The text of --about goes into it, section by section. A card holds no date and no path: equal inputs, equal bytes.
    """
    from edgecnn.artifact.files import MAX_TEXT_BYTES, read_whole, write_atomic
    from edgecnn.cli._options import put
    from edgecnn.errors import InputMissing, UsageError
    from edgecnn.report.about import read_about
    from edgecnn.report.card import card
    from edgecnn.report.subject import check_twins, measure, read_artifact

    if data_name is not None and data is None:
        raise UsageError("--data-name names the images of --data; give both or none.")
    artifact = read_artifact(file)
    twin = read_artifact(float32) if float32 is not None else None
    if twin is not None:
        check_twins(artifact, twin)
    said = read_about(about) if about is not None else None
    try:
        made_from = (recipe.name, read_whole(recipe, MAX_TEXT_BYTES)) if recipe is not None else None
    except OSError as error:
        raise InputMissing(f"{recipe} can't be read ({error.strerror}); give the recipe's file.") from None
    measured = None
    if data is not None:
        from edgecnn.cli._progress import progress_line
        from edgecnn.data.collection import open_collection

        images = open_collection(data, labels=artifact.manifest.spec.labels)
        with progress_line() as show:
            measured = measure(
                file,
                images,
                name=data_name or data.resolve().name,
                float32=float32,
                threads=threads,
                progress=lambda done, total: show(f"{done} of {total} images"),
            )
    written = card(artifact, float32=twin, measured=measured, about=said, recipe=made_from)
    if output is None:
        put(written.rstrip("\n"))
    else:
        write_atomic(output, written.encode())
