"""From a file to the active version of its model, at once: whatever interrupts it, the old version or the new one is active and whole.

1. unpack into a hidden folder beside, every byte verified, every file and folder flushed to disk;
2. try the model there, in a process of its own, by its golden answers;
3. rename the folder to its version and flush that name;
4. write the state that makes it the active one, beside the old state, flush it, rename it over the old one, and flush that name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgecnn.artifact.bundle import Bundle
from edgecnn.artifact.files import sync_folder, unwritable, write_atomic, write_new
from edgecnn.artifact.unpacked import open_unpacked
from edgecnn.device.trial import try_model
from edgecnn.errors import ArtifactRejected, ModelRejected, OutputNotWritable, SignatureRejected, StoreError
from edgecnn.sign import open_trusted, read_signature, signature_path
from edgecnn.store.lock import WAIT_S, Say, locked
from edgecnn.store.places import INCOMING, Place, default_store
from edgecnn.store.starts import forget_deaths
from edgecnn.store.state import State, read_state, write_state
from edgecnn.store.sweep import sweep
from edgecnn.store.switch import Switched, check_not_lower

_SPARE_BYTES = 1 << 20
"""For the state, names and what the file system keeps itself."""


def install(
    file: Path | str,
    *,
    store: Path | str | None = None,
    trust_key: Path | str | None = None,
    allow_downgrade: bool = False,
    wait_s: float = WAIT_S,
    say: Say | None = None,
) -> Switched:
    """Make the model in the artifact `file` the active version of its name in `store`, once it has given its golden answers here.

    store: by default that of `default_store`; it is made where there is none. trust_key: a PEM file with a public key, whose signature the file
    then needs; a signature that lies beside it is kept in any case. allow_downgrade: take one whose sequence is lower than the active one's.
    wait_s, say: see `edgecnn.store.lock.locked`. A version that is installed already isn't unpacked again, and one that is active isn't touched,
    unless it was damaged.
    Raises what `open_trusted` and `try_model` do; StoreError where another file of that name and version is installed, or this version was
    rolled back here; DowngradeRefused; StoreBusy; OutputNotWritable. What was active before is active then.
    """
    store = default_store() if store is None else Path(store)
    with open_trusted(file, trust_key) as bundle:
        bundle.verify()
        bundle.report()  # demanded, as by `edgecnn verify`
        spec = bundle.manifest.spec
        place = Place(store=store, name=spec.name)
        final = place.version(spec.version)
        with locked(store, wait_s=wait_s, say=say):
            sweep(store)
            try:
                return _install(bundle, place, final, allow_downgrade=allow_downgrade)
            except OSError as error:
                raise unwritable(place.folder, error) from error
            finally:
                sweep(store)


def _install(bundle: Bundle, place: Place, final: Path, *, allow_downgrade: bool) -> Switched:
    version, state = bundle.manifest.spec.version, read_state(place)
    whole = _is_installed(bundle, final)
    if whole and state.active == version:
        _keep_signature(bundle.path, final)
        sync_folder(place.folder)  # whoever made it so may have been killed before
        return Switched(name=place.name, version=version, before=version)
    if version in state.set_aside:
        raise StoreError(
            f"{place.name}@{version} was rolled back here ({state.set_aside[version]}); "
            f"`edgecnn store activate {place.name}@{version}` takes it all the same."
        )
    downgrade = check_not_lower(bundle.manifest.spec, place, state, allow_downgrade=allow_downgrade)
    if whole:
        try_model(final)
    else:
        _bring_in(bundle, place, final)
    _keep_signature(bundle.path, final)
    forget_deaths(place, version)
    write_state(place, state.with_active(version, what="activated" if whole else "installed", downgrade=downgrade))
    return Switched(name=place.name, version=version, before=state.active, unpacked=not whole, downgrade=downgrade)


def _is_installed(bundle: Bundle, final: Path) -> bool:
    """Whether this very artifact lies there, every byte of it; False where nothing does, or what does is damaged.

    Raises StoreError where it is another one.
    """
    if not final.is_dir():
        return False
    try:
        with open_unpacked(final) as there:
            if there.read("manifest.json") != bundle.read("manifest.json"):
                name = f"{there.manifest.spec.name}@{final.name}"
                raise StoreError(f"{bundle.path} is another {name} than the one that is installed; give it another version.")
            there.verify()
    except ArtifactRejected:
        return False
    return True


def _bring_in(bundle: Bundle, place: Place, final: Path) -> None:
    _make_model_folder(place)
    _check_space(bundle, place)
    incoming = place.folder / f"{INCOMING}{os.urandom(6).hex()}"
    _unpack(bundle, incoming)
    try:
        try_model(incoming)
    except ModelRejected as error:
        raise ModelRejected(str(error).replace(str(incoming), str(bundle.path))) from None
    if final.is_dir():  # damaged; sweeping deletes it
        os.rename(final, place.folder / f"{INCOMING}{os.urandom(6).hex()}")
    os.rename(incoming, final)
    sync_folder(place.folder)


def _make_model_folder(place: Place) -> None:
    """The model's folder with an empty state, so that whatever else lies in it is known to be a left-over."""
    if place.state.exists():
        return
    place.folder.mkdir(exist_ok=True)
    sync_folder(place.store)
    write_state(place, State())


def _check_space(bundle: Bundle, place: Place) -> None:
    """Before anything is written that a full disk would cut short. Raises OutputNotWritable."""
    try:
        free = shutil.disk_usage(place.folder).free
    except OSError:
        return
    wanted = sum(member.size for member in bundle.manifest.members) + _SPARE_BYTES
    if free < wanted:
        raise OutputNotWritable(
            f"{bundle.path} needs {wanted / 1e6:.1f} MB in {place.store}, where {free / 1e6:.1f} MB are free; free some space, "
            f"e.g. by `edgecnn store remove` of a version that isn't active."
        )


def _unpack(bundle: Bundle, folder: Path) -> None:
    """All members as files below `folder`, flushed to disk with their names; `folder`'s own name isn't. Raises ArtifactRejected or OSError."""
    os.mkdir(folder)
    made = [folder]
    for name in bundle.names:
        parent = (folder / name).parent
        for inner in reversed([above for above in (parent, *parent.parents) if above.is_relative_to(folder) and above not in made]):
            os.mkdir(inner)
            made.append(inner)
        write_new(folder / name, _checked(bundle, name))
    for inner in reversed(made):
        sync_folder(inner)


def _checked(bundle: Bundle, name: str) -> Iterator[bytes]:
    yield bundle.read(name)


def _keep_signature(file: Path, final: Path) -> None:
    """The signature that lies beside `file`, where there is one, beside the version."""
    try:
        signature = read_signature(file)
    except SignatureRejected:
        return
    try:
        if read_signature(final) == signature:
            return
    except SignatureRejected:
        pass
    write_atomic(signature_path(final), signature)
