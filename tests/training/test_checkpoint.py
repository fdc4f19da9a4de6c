"""Checkpoints hold tensors and plain values; whatever else is in the file is refused, never run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from transmodal.errors import UserError
from transmodal.training.checkpoint import all_finite, load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.ckpt", {"modules": {"weight": torch.arange(3.0)}, "position": {"step": 7}})
    return tmp_path / "last.ckpt"


def test_what_is_saved_comes_back(checkpoint: Path) -> None:
    content = load_checkpoint(checkpoint)
    assert content["position"] == {"step": 7}
    assert torch.equal(content["modules"]["weight"], torch.arange(3.0))
    assert [file.name for file in checkpoint.parent.iterdir()] == ["last.ckpt"]


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


@pytest.mark.parametrize("way", ["torch", "pickle"])
def test_a_pickle_bomb_does_not_go_off(way: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "bomb.ckpt", tmp_path / "went-off"
    content = {"version": 1, "modules": Bomb(mark)}
    if way == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="damaged or holds more than tensors"):
        load_checkpoint(file)
    assert not mark.exists()


def test_damaged_bytes_are_one_line(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [whole[:0], whole[:10], whole[: len(whole) // 2], whole[:-1], b"\0" * 500, b"not a checkpoint"]
    for _ in range(40):
        content = bytearray(whole)
        for place in generator.integers(0, len(whole), 8):
            content[place] = int(generator.integers(256))
        damaged.append(bytes(content))
    for content in damaged:
        checkpoint.write_bytes(content)
        try:
            load_checkpoint(checkpoint)  # a changed byte among the numbers is not noticed
        except UserError as error:
            assert "new --out" in str(error) and "\n" not in str(error)
    checkpoint.write_bytes(b"")
    with pytest.raises(UserError):
        load_checkpoint(checkpoint)


def test_another_version_and_a_missing_file_are_named(tmp_path: Path) -> None:
    torch.save({"version": 99}, tmp_path / "newer.ckpt")
    with pytest.raises(UserError, match="another version"):
        load_checkpoint(tmp_path / "newer.ckpt")
    with pytest.raises(UserError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_a_weight_that_is_no_number_is_noticed() -> None:
    layer = torch.nn.Linear(2, 2)
    assert all_finite(layer)
    layer.bias.data[1] = float("nan")
    assert not all_finite(layer)


def test_a_folder_that_cannot_be_written_is_one_clear_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def protected(file: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    before = checkpoint.read_bytes()
    with monkeypatch.context() as patch:  # whoever runs this may be root, whom no permission stops
        patch.setattr(Path, "touch", protected)
        with pytest.raises(UserError, match=r"Cannot write .*last\.ckpt: Permission denied; make .* writable"):
            save_checkpoint(checkpoint, {"position": {"step": 8}})
    assert checkpoint.read_bytes() == before

    in_the_way = checkpoint.parent / "best.ckpt"
    in_the_way.mkdir()
    with pytest.raises(UserError, match=r"Cannot write .*best\.ckpt: Is a directory; move what is there away"):
        save_checkpoint(in_the_way, {})
    assert sorted(file.name for file in checkpoint.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full, as Linux has it")
def test_a_full_disk_is_one_clear_line_and_other_faults_are_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = torch.save

    def full(content: object, file: Path) -> None:
        file.unlink(missing_ok=True)
        file.symlink_to("/dev/full")
        write(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"Cannot write .*last\.ckpt") as caught:
        save_checkpoint(tmp_path / "last.ckpt", {"modules": {"weight": torch.zeros(10**6)}})
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())

    def broken(content: object, file: Path) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        save_checkpoint(tmp_path / "last.ckpt", {})
