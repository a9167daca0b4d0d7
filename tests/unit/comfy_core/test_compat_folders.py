"""`folder_paths` is a view of the executor's folders, there before torch is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.comfy_core.pack_side import PackSide, Raised


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory."""
    return tmp_path_factory.mktemp("base").resolve()


@pytest.fixture(scope="module")
def side(base: Path) -> Iterator[PackSide]:
    """A process as prestart scripts find it."""
    side = PackSide(base, assembled=False)
    yield side
    side.end()


def test_prestart_scripts_have_folders_without_torch(side: PackSide) -> None:
    """Importing folder_paths brings no torch, which takes seconds and reads its environment once."""
    assert side.value("'torch' in __import__('sys').modules", "folder_paths") is False


def test_the_base_is_where_the_module_says_it_is(side: PackSide, base: Path) -> None:
    """Packs take the folder of the module's file for the base directory."""
    assert side.value("__import__('os').path.dirname(folder_paths.__file__)") == str(base)
    assert side.value("[folder_paths.base_path, folder_paths.models_dir]") == [str(base), str(base / "models")]
    assert side.value("folder_paths.output_directory") == str(base / "output")
    with pytest.raises(Raised, match="AttributeError"):
        side.value("folder_paths.outputs_directory")


def test_what_packs_add_is_what_the_server_lists(side: PackSide, base: Path) -> None:
    """A kind, a folder and an ending added by hand are searched at once, by the executor's own Folders too."""
    (base / "mine").mkdir()
    (base / "mine" / "a.onnx").touch()
    side.run(f"folder_paths.folder_names_and_paths['insight'] = ([{str(base / 'mine')!r}], {{'.onnx'}})")
    assert side.value("folder_paths.get_filename_list('insight')") == ["a.onnx"]
    assert side.value("surface.settings.folders.model_names('insight')") == ["a.onnx"]
    (base / "mine" / "b.gguf").touch()
    side.run("folder_paths.folder_names_and_paths['insight'][1].add('.gguf')")
    assert side.value("folder_paths.get_filename_list('insight')") == ["a.onnx", "b.gguf"]
    assert side.value("folder_paths.get_full_path('insight', 'b.gguf')") == str(base / "mine" / "b.gguf")
    assert side.value("folder_paths.get_full_path('insight', '../secret')") is None


def test_a_default_folder_comes_first(side: PackSide) -> None:
    """Folders are searched in the order they were added, a default one before them all; old names are known."""
    side.run(
        """
        folder_paths.add_model_folder_path('zz', '/tmp/one')
        folder_paths.add_model_folder_path('zz', '/tmp/two', is_default=True)
        folder_paths.add_model_folder_path('clip', '/tmp/three')
        """
    )
    assert side.value("folder_paths.get_folder_paths('zz')") == ["/tmp/two", "/tmp/one"]
    assert side.value("folder_paths.get_folder_paths('text_encoders')[-1]") == "/tmp/three"


def test_a_model_that_is_not_there_is_named(side: PackSide) -> None:
    """get_full_path gives None, get_full_path_or_raise says kind and name, an unknown kind is a KeyError."""
    assert side.value("folder_paths.get_full_path('loras', 'x')") is None
    with pytest.raises(Raised, match="FileNotFoundError: Model in folder 'loras' with filename 'x' not found"):
        side.value("folder_paths.get_full_path_or_raise('loras', 'x')")
    with pytest.raises(Raised, match="KeyError"):
        side.value("folder_paths.get_filename_list('nope')")


def test_names_may_say_their_folder(side: PackSide, base: Path) -> None:
    """`name [output]` is among the outputs; a name that leads out of its folder is refused."""
    assert side.value("folder_paths.annotated_filepath('a b [output]')") == ["a b", str(base / "output")]
    assert side.value("folder_paths.annotated_filepath('a b')") == ["a b", None]
    assert side.value("folder_paths.get_annotated_filepath('a [temp]')") == str(base / "temp" / "a")
    assert side.value("folder_paths.exists_annotated_filepath('../../etc/passwd')") is False
    with pytest.raises(Raised, match="InputRefused"):
        side.value("folder_paths.get_annotated_filepath('../a.png')")


def test_the_next_file_is_counted_and_stays_inside(side: PackSide, base: Path) -> None:
    """(folder, stem, counter, sub-folder, prefix); the folder is made."""
    found = side.value("folder_paths.get_save_image_path('a/b%width%', folder_paths.get_output_directory(), 3, 4)")
    assert found == [str(base / "output" / "a"), "b3", 1, "a", "a/b3"]
    assert (base / "output" / "a").is_dir()
    with pytest.raises(Raised, match="InputRefused"):
        side.value("folder_paths.get_save_image_path('../b', folder_paths.get_output_directory())")


def test_files_are_told_apart_by_name(side: PackSide) -> None:
    """image, video, audio and (3D) model."""
    names = ["a.PNG", "b.mp4", "c.flac", "d.glb", "e.txt", "f.safetensors", "g"]
    for kind, wanted in {"image": ["a.PNG"], "video": ["b.mp4"], "audio": ["c.flac"], "model": ["d.glb"]}.items():
        assert side.value(f"folder_paths.filter_files_content_types({names}, [{kind!r}])") == wanted


def test_other_folders_are_used_from_then_on(side: PackSide, base: Path) -> None:
    """set_output_directory moves the executor's own."""
    side.run(f"folder_paths.set_output_directory({str(base / 'elsewhere')!r})")
    assert side.value("str(surface.settings.folders.output)") == str(base / "elsewhere")
    side.run(f"folder_paths.set_output_directory({str(base / 'output')!r})")


def test_flags_are_read_under_comfyuis_names(side: PackSide) -> None:
    """args holds every flag; those that mean nothing here are False until they are given."""
    told = side.run(
        """
        from comfy.cli_args import args, LatentPreviewMethod
        answer = [args.cpu, args.port, args.fp16_vae, args.preview_method is LatentPreviewMethod.NoPreviews]
        """
    )
    assert told == [True, 8188, False, True]
