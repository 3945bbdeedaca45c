import io
import os
import pickle
import re
import stat
import struct
import tempfile
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from caa_core.errors import InputError
from caa_core.vectors.formats import (
    FORMATS,
    MAX_GGUF_READS,
    MAX_HIDDEN,
    MAX_LAYERS,
    check_target,
    read_vector,
    write_vector,
)
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.bounds import STEPS, allocating, bounded
from tests.helpers.fuzz import hostile

PAPERS = Provenance("org/tiny-chat", "f" * 64, 4, "mean-difference", "letter", "mine", "d" * 64, 24, "c" * 64)
MODEL = "Llama-2-7b-chat-hf"


@pytest.fixture
def vector():
    torch.manual_seed(0)
    return SteeringVector("mine", {n: torch.randn(8) for n in (0, 1, 3)}, {0: 9.0, 1: 10.0, 3: 8.0}, PAPERS)


def saved(tensor) -> bytes:
    """What torch.save writes."""
    out = io.BytesIO()
    torch.save(tensor, out)
    return out.getvalue()


def zipped(members, compression=zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", compression) as archive:
        warnings.simplefilter("ignore")  # two members of one name are meant
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pt(folder: Path, content: bytes) -> Path:
    return put(folder / f"vec_layer_13_{MODEL}.pt", content)


def same_layers(a, b):
    return a.layers.keys() == b.layers.keys() and all(torch.equal(a.at(n), b.at(n)) for n in a.layers)


# Round trips.


@pytest.mark.parametrize("name", ["v.safetensors", "v.gguf", "v.zip", "folder", "V.GGUF"])
def test_what_is_written_is_read_again(vector, tmp_path, name):
    notes = write_vector(vector, tmp_path / name)
    again = read_vector(tmp_path / name)
    expected = dict(vector.layers)
    if name.lower().endswith("gguf"):
        del expected[0]
        assert notes == [
            "Layer 0 is left out: llama.cpp has no direction.0.",
            "llama.cpp adds it at every position, the prompt's too.",
        ]
    assert same_layers(again, SteeringVector("", expected, {}, PAPERS))
    assert all(tensor.dtype == torch.float32 for tensor in again.layers.values())


@pytest.mark.parametrize("name", ["v.safetensors", "v.gguf"])
def test_formats_with_room_for_them_keep_the_papers(vector, tmp_path, name):
    write_vector(vector, tmp_path / name)
    again = read_vector(tmp_path / name)
    assert (again.name, again.provenance) == ("mine", PAPERS)
    assert again.residual_norms == {n: vector.residual_norms[n] for n in again.layers}


@pytest.mark.parametrize("name", ["mine.zip", "mine"])
def test_pt_files_keep_the_model_and_say_what_they_lose(vector, tmp_path, name):
    notes = write_vector(vector, tmp_path / name)
    assert len(notes) == 1 and "no pairs, norms or read position" in notes[0]
    again = read_vector(tmp_path / name)
    assert (again.name, again.residual_norms) == ("mine", {})
    assert again.provenance == Provenance("tiny-chat", created_with="")


def test_an_unknown_model_stays_unknown(tmp_path):
    bare = SteeringVector("x", {2: torch.ones(3)}, {}, Provenance(created_with=""))
    for name in ("v.safetensors", "v.gguf", "v.zip", "folder"):
        write_vector(bare, tmp_path / name)
        assert read_vector(tmp_path / name).provenance == bare.provenance


def test_every_format_on_offer_can_be_written(vector, tmp_path):
    for ending in FORMATS.values():
        write_vector(vector, tmp_path / f"v{ending}")
        assert read_vector(tmp_path / f"v{ending}").layers.keys() >= {1, 3}


# Other tools' own readers and writers.


def test_gguf_as_its_own_reader_sees_it(vector, tmp_path):
    write_vector(vector, tmp_path / "v.gguf")
    reader = gguf.GGUFReader(tmp_path / "v.gguf")
    said = {key: field.contents() for key, field in reader.fields.items()}
    assert said["general.architecture"] == "controlvector"
    assert said["controlvector.model_hint"] == "org/tiny-chat"
    assert said["controlvector.layer_count"] == 2
    assert {tensor.name: tensor.tensor_type.name for tensor in reader.tensors} == {
        "direction.1": "F32",
        "direction.3": "F32",
    }
    for tensor in reader.tensors:
        assert np.array_equal(tensor.data, vector.at(int(tensor.name[-1])).numpy())


def write_gguf(path, directions, architecture="controlvector", hint="mistral", **more):
    """As repeng's ControlVector.export_gguf does."""
    writer = gguf.GGUFWriter(path, architecture, **more)
    if hint:
        writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(directions))
    for name, direction in directions.items():
        writer.add_tensor(name, direction)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_control_vector_of_repeng(tmp_path):
    made = {f"direction.{n}": np.random.default_rng(n).normal(size=6).astype(np.float32) for n in (3, 2, 1)}
    again = read_vector(write_gguf(tmp_path / "honest.gguf", made))
    assert (again.name, again.provenance) == ("honest", Provenance("mistral", created_with=""))
    assert list(again.layers) == [1, 2, 3]
    assert all(np.array_equal(again.at(n).numpy(), made[f"direction.{n}"]) for n in (1, 2, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_in_gguf(tmp_path, dtype):
    again = read_vector(write_gguf(tmp_path / "v.gguf", {"direction.1": np.array([0.5, -2], dtype)}))
    assert again.at(1).dtype == torch.float32 and again.at(1).tolist() == [0.5, -2]


def test_layers_of_zeros_are_left_out(tmp_path):
    """jukofyork's tool fills the layers that it leaves out with zeros, since llama.cpp wants all of them."""
    made = {f"direction.{n}": np.full(6, 0.0 if n in (1, 5) else n, np.float32) for n in range(1, 6)}
    again = read_vector(write_gguf(tmp_path / "v.gguf", made))
    assert list(again.layers) == [2, 3, 4] and again.at(3).tolist() == [3.0] * 6
    assert again.provenance.operations == "without layers 1, 5, which the file has as zero"
    for n in (1, 2):
        torch.save(torch.ones(6) * (n - 1), tmp_path / f"vec_layer_{n}_x.pt")
    folder = read_vector(tmp_path)
    assert list(folder.layers) == [2] and "layer 1," in folder.provenance.operations


def test_bfloat16_and_rows_in_gguf(tmp_path):
    values = np.array([0.5, -2, 3.140625, 1e30], np.float32)
    bf16 = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_tensor("direction.1", bf16, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.add_tensor("direction.2", values.reshape(1, 4))
    writer.add_tensor("direction.3", values.reshape(4, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    again = read_vector(tmp_path / "v.gguf")
    assert torch.equal(again.at(1), torch.from_numpy(values).bfloat16().float())
    assert again.at(2).tolist() == again.at(3).tolist() == values.tolist()


def test_quantized_directions_are_named(tmp_path):
    q8 = gguf.quants.quantize(np.ones(32, np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_tensor("direction.1", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"quantized \(Q8_0\), which is not read: write them as F32"):
        read_vector(tmp_path / "v.gguf")


def test_a_vector_of_easysteer(tmp_path):
    """It adds direction.L to the output of model.layers.L, counted from 0."""
    made = {f"direction.{n}": np.random.default_rng(n).normal(size=6).astype(np.float32) for n in (0, 11)}
    again = read_vector(write_gguf(tmp_path / "v.gguf", made, "steervector"))
    assert list(again.layers) == [0, 11]
    assert all(np.array_equal(again.at(n).numpy(), made[f"direction.{n}"]) for n in (0, 11))


@pytest.mark.parametrize("name", ["evil_response_avg_diff.pt", "prompt_avg_diff.pt", "my_prompt_last_diff.pt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_persona_vectors(tmp_path, name, dtype):
    """Its steerer adds row `layer` of the stack to the output of block `layer` - 1; row 0 is the embedding's."""
    stack = torch.randn(6, 8).to(dtype)
    again = read_vector(put(tmp_path / name, saved(stack)))
    assert list(again.layers) == [0, 1, 2, 3, 4]
    assert all(torch.equal(again.at(layer), stack[layer + 1].float()) for layer in again.layers)


def test_several_vectors_in_one_tensor_get_advice_that_works(tmp_path):
    stack = torch.randn(6, 8)
    for name in ("stack.pt", f"vec_layer_12_{MODEL}.pt"):
        with pytest.raises(InputError, match=r"one vector but 6, .* name it <trait>_response_avg_diff\.pt; else"):
            read_vector(put(tmp_path / name, saved(stack)))
    assert len(read_vector(put(tmp_path / "joy_response_avg_diff.pt", saved(stack))).layers) == 5


def test_several_tensors_in_a_file_get_advice_that_works(tmp_path):
    held = {12: torch.randn(8), 13: torch.randn(8)}
    with pytest.raises(InputError, match="holds several tensors: save each as vec_layer_<layer>_<model>"):
        read_vector(put(tmp_path / "layers.pt", saved(held)))


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1, 8)])
def test_a_row_or_a_column_is_a_vector(tmp_path, shape):
    vector = torch.randn(8)
    assert torch.equal(read_vector(pt(tmp_path, saved(vector.reshape(shape)))).at(13), vector)
    path = write_gguf(tmp_path / "v.gguf", {"direction.13": vector.reshape(shape).numpy()})
    assert torch.equal(read_vector(path).at(13), vector)


@pytest.mark.parametrize("key", ["layers", "direction"])
def test_safetensors_that_name_their_layers(tmp_path, key):
    made = {n: torch.randn(1, 8).half() for n in (12, 13)}
    for metadata in (None, {"format": "pt"}):
        save_file({f"{key}.{n}": tensor for n, tensor in made.items()}, tmp_path / "v.safetensors", metadata)
        again = read_vector(tmp_path / "v.safetensors")
        assert all(torch.equal(again.at(n), made[n].float()[0]) for n in made) and len(again.layers) == 2
    save_file({f"{key}.{n}": torch.full((8,), float(n)) for n in range(3)}, tmp_path / "v.safetensors")
    again = read_vector(tmp_path / "v.safetensors")
    assert list(again.layers) == [1, 2] and again.provenance.operations.startswith("without layer 0,")


@pytest.mark.parametrize(
    "held", [{"12": torch.ones(8)}, {"layers.1": torch.ones(2, 4)}, {"layers.1": torch.ones(8).long()}, {}]
)
def test_other_safetensors_are_told_by_what_they_hold(tmp_path, held):
    save_file(held, tmp_path / "v.safetensors")
    said = [f"{key} {list(tensor.shape)}" for key, tensor in held.items()]
    with pytest.raises(InputError, match=re.escape(said[0]) if said else "nothing|no layer"):
        read_vector(tmp_path / "v.safetensors")


def test_gguf_of_the_other_byte_order(tmp_path):
    path = write_gguf(
        tmp_path / "v.gguf", {"direction.1": np.array([0.5, -2], np.float32)}, endianess=gguf.GGUFEndian.BIG
    )
    assert read_vector(path).at(1).tolist() == [0.5, -2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_folder_of_the_caa_repository(tmp_path, dtype):
    """vectors/<behaviour>/vec_layer_<L>_<model>.pt, each written by torch.save."""
    folder = tmp_path / "sycophancy"
    folder.mkdir()
    made = {n: torch.randn(8).to(dtype) for n in (13, 2, 0)}
    for n, tensor in made.items():
        torch.save(tensor, folder / f"vec_layer_{n}_{MODEL}.pt")
    (folder / "notes.txt").write_text("not ours")
    again = read_vector(folder)
    assert (again.name, again.provenance) == ("sycophancy", Provenance(MODEL, created_with=""))
    assert list(again.layers) == [0, 2, 13]
    assert all(torch.equal(again.at(n), made[n].float()) for n in made)


def test_one_pt_file_and_several(tmp_path):
    made = {n: torch.randn(8) for n in (1, 2)}
    paths = [put(tmp_path / f"vec_layer_{n}_{MODEL}.pt", saved(tensor)) for n, tensor in made.items()]
    assert torch.equal(read_vector(paths[0]).at(1), made[1])
    both = read_vector(*paths)
    assert (both.name, list(both.layers)) == (MODEL, [1, 2])
    assert both.provenance.model == MODEL


def test_a_row_of_a_larger_matrix_and_a_parameterless_gradient(tmp_path):
    row = torch.randn(5, 8)[2]
    assert torch.equal(read_vector(pt(tmp_path, saved(row))).at(13), row)
    column = torch.randn(8, 5)[:, 2]
    assert torch.equal(read_vector(pt(tmp_path, saved(column))).at(13), column)
    learnt = torch.randn(8, requires_grad=True)
    again = read_vector(pt(tmp_path, saved(learnt))).at(13)
    assert torch.equal(again, learnt) and not again.requires_grad


def test_a_zip_as_people_make_it(tmp_path):
    tensor = torch.randn(8)
    members = [
        ("refusal/", b""),
        (f"refusal/vec_layer_4_{MODEL}.pt", saved(tensor)),
        ("refusal/README.txt", b"hello"),
        ("__MACOSX/refusal/._vec_layer_4_x.pt", b"junk"),
        ("refusal/._vec_layer_4_x.pt", b"junk"),
        (f"refusal\\vec_layer_5_{MODEL}.pt", saved(tensor)),
    ]
    again = read_vector(put(tmp_path / "refusal.zip", zipped(members, zipfile.ZIP_DEFLATED)))
    assert (again.name, list(again.layers)) == ("refusal", [4, 5])
    assert torch.equal(again.at(4), tensor)


def test_content_counts_and_not_the_name(vector, tmp_path):
    for ending in (".safetensors", ".gguf", ".zip"):
        write_vector(vector, tmp_path / f"v{ending}")
        os.rename(tmp_path / f"v{ending}", tmp_path / "v.bin")
        assert torch.equal(read_vector(tmp_path / "v.bin").at(1), vector.at(1))


# Names.


def test_names_lose_what_would_rewrite_the_line(tmp_path):
    name = "joy\x1b[2J\u202eevil\u2066\n\x00"
    crooked = SteeringVector(name, {1: torch.ones(2)}, {}, Provenance(model=name, dataset=name * 99))
    for ending in (".safetensors", ".gguf"):
        write_vector(crooked, tmp_path / f"v{ending}")
        again = read_vector(tmp_path / f"v{ending}")
        assert again.name == again.provenance.model == "joy[2Jevil"
        assert again.provenance.dataset.isprintable() and len(again.provenance.dataset) <= 120


def test_a_hint_and_a_file_name_from_elsewhere_are_cleaned(tmp_path):
    path = write_gguf(tmp_path / "a\u202eb.gguf", {"direction.1": np.ones(2, np.float32)}, hint="\x07llama\u202e")
    again = read_vector(path)
    assert (again.name, again.provenance.model) == ("ab", "llama")
    again = read_vector(put(tmp_path / "vec_layer_1_a\u202e\x1bb.pt", saved(torch.ones(2))))
    assert again.name == again.provenance.model == "ab"
    with pytest.raises(InputError) as refused:
        read_vector(put(tmp_path / "x\u202e\x1b\n.pt", b"nothing"))
    assert str(refused.value).isprintable()


def test_file_names_made_from_a_model_are_safe(tmp_path):
    for model in ("../../etc/passwd", "a\\b:c\n\x00d", "日本", "m" * 400):
        odd = SteeringVector("x", {1: torch.ones(2)}, {}, Provenance(model=model))
        write_vector(odd, tmp_path / "out")
        write_vector(odd, tmp_path / "out.zip")
    assert sorted(os.listdir(tmp_path)) == ["out", "out.zip"]
    names = os.listdir(tmp_path / "out")
    assert {"vec_layer_1_passwd.pt", "vec_layer_1_a_b_c_d.pt", "vec_layer_1__.pt"} < set(names)
    assert all(len(name) < 150 and name.isascii() and name.isprintable() for name in names)


# Writing.


def test_writing_replaces_whole_files_and_leaves_others(vector, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    (folder / "vec_layer_1_tiny-chat.pt").write_text("old")
    (folder / "vec_layer_7_tiny-chat.pt").write_text("older")
    notes = write_vector(vector, folder)
    assert notes[1:] == ["1 other vec_layer files in the folder were left there."]
    assert (folder / "mine.txt").read_text() == "keep"
    assert torch.equal(torch.load(folder / "vec_layer_1_tiny-chat.pt", weights_only=True), vector.at(1))
    put(tmp_path / "v.gguf", b"old")
    write_vector(vector, tmp_path / "v.gguf")
    assert read_vector(tmp_path / "v.gguf").layers.keys() == {1, 3}
    assert sorted(os.listdir(tmp_path)) == ["folder", "v.gguf"] and len(os.listdir(folder)) == 5
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(tmp_path / "v.gguf").st_mode) == 0o666 & ~umask


def test_a_vector_with_only_layer_0_is_nothing_for_llama_cpp(tmp_path):
    put(tmp_path / "v.gguf", b"old")
    with pytest.raises(InputError, match=r"only layer 0, and llama\.cpp has no direction\.0"):
        write_vector(SteeringVector("x", {0: torch.ones(2)}, {}, PAPERS), tmp_path / "v.gguf")
    assert (tmp_path / "v.gguf").read_bytes() == b"old" and os.listdir(tmp_path) == ["v.gguf"]


def test_places_that_cannot_be_written(vector, tmp_path):
    put(tmp_path / "taken", b"")
    for name, message in (
        ("v.onnx", r"v\.onnx has no ending that is known: give \.safetensors"),
        ("nowhere/v.gguf", r"v\.gguf cannot be written"),
        ("nowhere/folder", "folder cannot be written"),
        ("taken", "taken cannot be written: it is a file already"),
        ("taken/v.zip", r"v\.zip cannot be written"),
        ("n" * 300 + ".zip", "cannot be written"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            write_vector(vector, tmp_path / name)
        assert str(tmp_path) not in str(refused.value)
    assert os.listdir(tmp_path) == ["taken"]
    with pytest.raises(InputError, match="its folder does not exist"):
        check_target(tmp_path / "gone" / "v.gguf")


# Refusals.


class Evil:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


def with_pickle(pickled: bytes, data: bytes = b"\0" * 32) -> bytes:
    return zipped([("a/data.pkl", pickled), ("a/data/0", data), ("a/version", b"3\n")])


def pickle_of(tensor, **changes: bytes) -> bytes:
    """The pickle in a saved tensor, some of its bytes replaced."""
    with zipfile.ZipFile(io.BytesIO(saved(tensor))) as archive:
        made = archive.read("archive/data.pkl")
    for old, new in changes.values():
        assert old in made
        made = made.replace(old, new)
    return made


def test_a_pickle_is_not_run(tmp_path):
    target = tmp_path / "created"
    plain = pickle.dumps(Evil(target), protocol=2)
    legacy = io.BytesIO()
    torch.save(Evil(target), legacy, _use_new_zipfile_serialization=False)
    for content in (saved(Evil(target)), with_pickle(plain), plain, legacy.getvalue(), saved([Evil(target)])):
        with pytest.raises(InputError):
            read_vector(pt(tmp_path, content))
        with pytest.raises(InputError):
            read_vector(put(tmp_path / "v.zip", zipped([(f"vec_layer_1_{MODEL}.pt", content)])))
    assert not target.exists()
    # The same bytes are dangerous: what was refused would have made the file.
    pickle.loads(plain).close()
    assert target.exists()


def test_pickles_that_eat_memory_are_not_run(tmp_path):
    """torch's own weights_only would build these: a bytearray of 10 GB, a FloatTensor, a set."""
    huge = struct.pack("<B", 10) + (10**10).to_bytes(10, "little")
    for name in (b"builtins\nbytearray", b"__builtin__\nbytearray", b"torch\nFloatTensor", b"collections\nCounter"):
        path = pt(tmp_path, with_pickle(b"\x80\x02c" + name + b"\n\x8a" + huge + b"\x85R."))
        with allocating(1_000_000), pytest.raises(InputError, match="other than a plain float tensor"):
            read_vector(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**12), "does not hold one vector"),
        (torch.zeros(1).expand(MAX_HIDDEN + 1), "does not hold one vector"),
        (torch.ones(2, 2), "does not hold one vector"),
        (torch.tensor(1.0), "does not hold one vector"),
        (torch.ones(0), "does not hold one vector"),
        (torch.ones(2).long(), "other than a plain float tensor"),
        (torch.ones(2, dtype=torch.complex64), "other than a plain float tensor"),
        (torch.ones(2).to(torch.float8_e4m3fn), "other than a plain float tensor"),
        (torch.ones(2).to_sparse(), "other than a plain float tensor"),
        (torch.ones(2, device="meta"), "other than a plain float tensor"),
        (torch.nn.Parameter(torch.ones(2)), "other than a plain float tensor"),
        ({"vector": torch.ones(2)}, "does not hold one vector"),
        ([torch.ones(2)] * 3, "does not hold one vector"),
        ([torch.ones(2) for _ in range(90)], "other than a plain float tensor"),
        ("text", "does not hold one vector"),
        (torch.tensor([1.0, float("nan")]), "layer 13: it holds NaN"),
        (torch.tensor([1.0, 1e300], dtype=torch.float64), "layer 13: it holds NaN or infinity"),
        (torch.zeros(2), "layer 13: it is zero everywhere"),
    ],
    ids=range(18),
)
def test_pt_files_that_hold_no_vector(tmp_path, tensor, message):
    path = pt(tmp_path, saved(tensor))
    with bounded(STEPS), pytest.raises(InputError, match=message):
        read_vector(path)


def test_a_pickle_that_lies_about_sizes(tmp_path):
    tensor = torch.arange(8.0)
    for old, new in (
        (b"K\x08tq", b"J\xff\xff\xff\x7ftq"),  # elements in the storage
        (b"K\x08\x85", b"J\xff\xff\xff\x7f\x85"),  # elements in the tensor
        (b"K\x00K\x08", b"J\xff\xff\xff\x7fK\x08"),  # offset
        (b"K\x00K\x08", b"J\xff\xff\xff\xffK\x08"),  # offset below zero
    ):
        with pytest.raises(InputError, match=r"damaged|one vector"):
            read_vector(pt(tmp_path, with_pickle(pickle_of(tensor, x=(old, new)))))


def test_torch_files_of_old(tmp_path):
    torch.save(torch.ones(2), tmp_path / "vec_layer_1_x.pt", _use_new_zipfile_serialization=False)
    for path in (tmp_path, tmp_path / "vec_layer_1_x.pt"):
        with pytest.raises(InputError, match="old format: load it and save it again"):
            read_vector(path)


GOOD = saved(torch.ones(2))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "without .pt files"),
        ([("README.txt", b"")], "without .pt files"),
        ([("a.pt", GOOD)], r"a\.pt does not say its layer"),
        ([("vec_layer_01_m.pt", GOOD)], "does not say its layer"),
        ([("vec_layer_99999_m.pt", GOOD)], "does not say its layer"),
        ([("vec_layer_1_m.pt", GOOD)] * 2, "two files of one name"),
        ([("a/vec_layer_1_m.pt", GOOD), ("b/vec_layer_1_m.pt", GOOD)], "holds layer 1 twice"),
        ([("vec_layer_1_m.pt", GOOD), ("vec_layer_2_n.pt", GOOD)], "two models: 'm' and 'n'"),
        ([("vec_layer_1_m.pt", GOOD), ("vec_layer_2_m.pt", saved(torch.ones(3)))], "layer 2: a float32 tensor"),
        ([("vec_layer_1_m.pt", b"PK nothing")], "is not a zip file that can be read"),
        ([("vec_layer_1_m.pt", b"")], "not a file that torch.save wrote"),
        ([("vec_layer_1_m.pt", zipped([("vec_layer_1_m.pt", GOOD)]))], "not a file of torch.save"),
        ([(f"vec_layer_{n}_m.pt", GOOD) for n in range(401)], "has 401 layers; a steering vector of 400 at most"),
    ],
)
def test_zips_that_hold_no_vector(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        read_vector(put(tmp_path / "v.zip", zipped(members)))


def overlapping() -> bytes:
    """Two entries of the directory that lead to the same bytes, as in a bomb that unpacks one file a thousand times."""
    honest = zipped([("vec_layer_1_m.pt", GOOD)])
    at, end = honest.index(b"PK\x01\x02", len(GOOD)), honest.rindex(b"PK\x05\x06")
    entry = honest[at:end]
    tail = bytearray(honest[end:])
    struct.pack_into("<HHI", tail, 8, 2, 2, 2 * len(entry))
    return honest[:end] + entry.replace(b"layer_1", b"layer_2") + bytes(tail)


def test_zip_bombs(tmp_path):
    zeros = b"\0" * 250_000_000
    bomb = zipped([("vec_layer_1_m.pt", zeros)], zipfile.ZIP_DEFLATED)
    inner = zipped([("a/data.pkl", pickle_of(torch.ones(8))), ("a/data/0", zeros[:20_000_000])], zipfile.ZIP_DEFLATED)
    crowd = zipped([]) + b"PK\x01\x02" * 30_000
    other = zipped([("vec_layer_1_m.pt", b"\0" * 100_000)], zipfile.ZIP_BZIP2)
    for content, message in (
        (bomb, "unpacks to more than 200 MB"),
        (zipped([("vec_layer_1_m.pt", inner)]), r"vec_layer_1_m\.pt is compressed in a way"),
        (zipped([("vec_layer_1_m.pt", zipped([("a/data.pkl", zeros[:17_000_000])]))]), "larger than 16 MB"),
        (zipped([("vec_layer_1_m.pt", zipped([(f"a/{n}", b"") for n in range(101)]))]), "holds too many files"),
        (overlapping(), "its files overlap"),
        (crowd, "too many files"),
        (other, "compressed in a way"),
    ):
        path = put(tmp_path / "v.zip", content)
        with bounded(STEPS), allocating(4 * len(content) + 1_000_000), pytest.raises(InputError, match=message):
            read_vector(path)
    # A size that lies: what is unpacked is cut at what was declared.
    lying = bytearray(zipped([("vec_layer_1_m.pt", zeros[:50_000_000])], zipfile.ZIP_DEFLATED))
    at = lying.index(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", lying, at) == (50_000_000,)
    struct.pack_into("<I", lying, at, 100)
    with pytest.raises(InputError, match="not a zip file that can be read"):
        read_vector(put(tmp_path / "v.zip", bytes(lying)))


STRETCHED = saved(torch.ones(1).expand(MAX_HIDDEN))


def overlapping_gguf() -> bytes:
    """As many tensors as are read, which all are the same bytes."""
    infos = b"".join(text(b"direction.%d" % n) + struct.pack("<IQIQ", 1, MAX_HIDDEN, 0, 0) for n in range(MAX_LAYERS))
    kind = text(b"general.architecture") + struct.pack("<I", 8) + text(b"controlvector")
    head = HEAD + struct.pack("<QQ", MAX_LAYERS, 1) + kind + infos
    return head + bytes(-len(head) % 32) + np.ones(MAX_HIDDEN, np.float32).tobytes()


def held(tensors: dict) -> bytes:
    return save(tensors, {"format": "caa-steering-vector", "format_version": "1"})


# The most that there is to read in files that are taken, and just more, of each kind.
COSTLY = {
    "a zip of as many layers as are read": (
        "v.zip",
        lambda: zipped([(f"vec_layer_{n}_m.pt", GOOD) for n in range(MAX_LAYERS)], zipfile.ZIP_DEFLATED),
        "",
    ),
    "a zip of layers that are stretched": (
        "v.zip",
        lambda: zipped([(f"vec_layer_{n}_m.pt", STRETCHED) for n in range(MAX_LAYERS)], zipfile.ZIP_DEFLATED),
        "8,000,000 numbers",
    ),
    "a zip of zeros": (
        "v.zip",
        lambda: zipped([(f"vec_layer_{n}_m.pt", bytes(15_000_000)) for n in range(13)], zipfile.ZIP_DEFLATED),
        "not a file that torch.save wrote",
    ),
    "a zip of other files": ("v.zip", lambda: zipped([(f"{n}", b"") for n in range(20_000)]), "without .pt files"),
    "tensors of a GGUF that overlap": ("v.gguf", overlapping_gguf, "8,000,000 numbers"),
    "layers by the thousand": (
        "v.safetensors",
        lambda: held({f"layers.{n}": torch.ones(2) for n in range(9_999)}),
        "has 9,999 layers",
    ),
    "layers by the thousand that say nothing": (
        "v.safetensors",
        lambda: save({f"layers.{n}": torch.ones(2) for n in range(9_999)}),
        "has 9,999 layers",
    ),
    "layers that are too large": (
        "v.safetensors",
        lambda: held({f"layers.{n}": torch.ones(MAX_HIDDEN) for n in range(123)}),
        "8,000,000 numbers",
    ),
    "as many rows as fit": ("x_response_avg_diff.pt", lambda: saved(torch.ones(1_000_000, 2)), "has 999,999 layers"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_vector_of_any_kind_is_little_work(tmp_path, name):
    """As what is read of pairs without a process of its own."""
    file, content, message = COSTLY[name]
    path = put(tmp_path / file, content())
    with bounded(STEPS / 2), pytest.raises(InputError, match=message) if message else nullcontext():
        read_vector(path)


def test_several_files_that_are_not_one_vector(tmp_path, vector):
    write_vector(vector, tmp_path / "v.safetensors")
    one = put(tmp_path / "vec_layer_1_m.pt", GOOD)
    (tmp_path / "b").mkdir()
    again = put(tmp_path / "b" / "vec_layer_1_m.pt", GOOD)
    for paths, message in (
        ([one, tmp_path / "v.safetensors"], r"v\.safetensors does not say its layer"),
        ([one, again], "holds layer 1 twice"),
        ([one, tmp_path / "gone.pt"], r"There is no file gone\.pt"),
        ([], "The set of files holds no layer"),
    ):
        with pytest.raises(InputError, match=message):
            read_vector(*paths)


def test_files_that_are_nothing_of_ours(tmp_path):
    (tmp_path / "empty").mkdir()
    put(tmp_path / "text.txt", b"hello, this is a text")
    put(tmp_path / "nothing", b"")
    put(tmp_path / "v.gguf.gz", b"\x1f\x8b\x08" + bytes(99))
    put(tmp_path / "v.npy", b"\x93NUMPY" + bytes(99))
    put(tmp_path / "v.npz", zipped([("layer_12.npy", b"")]))
    put(tmp_path / "v.pkl", pickle.dumps({}))
    put(tmp_path / "v.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with open(tmp_path / "large.pt", "wb") as sparse:
        sparse.truncate(300_000_000)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("gone.gguf", r"There is no file gone\.gguf"),
        ("empty", "The folder empty holds no file vec_layer_"),
        ("text.txt", r"text\.txt is not a steering vector"),
        ("v.gguf.gz", "is packed with gzip; unpack it"),
        ("v.npy", "array of NumPy, .* save each layer with torch.save"),
        ("v.npz", r"it holds layer_12\.npy\. Unpack it, or save each layer"),
        ("v.pkl", "is a pickle, which can carry code: save each layer"),
        ("v.safetensors", "only a pointer to a file in Git LFS"),
        ("nothing", "nothing is not a steering vector"),
        ("large.pt", r"large\.pt is larger than 200 MB"),
        ("pipe", "There is no file pipe"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            read_vector(tmp_path / name)
        assert str(tmp_path) not in str(refused.value)


F32 = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("directions", "architecture", "message"),
    [
        ({"direction.1": F32}, "llama", "not a control vector: it says 'llama'"),
        ({}, "controlvector", "holds no layer"),
        ({"token_embd.weight": F32}, "controlvector", "holds a tensor 'token_embd.weight'"),
        ({"direction.-1": F32}, "controlvector", "holds a tensor"),
        ({"direction.01": F32}, "controlvector", "holds a tensor"),
        ({"direction.1": np.ones((2, 2), np.float32)}, "controlvector", "layer 1: a float tensor"),
        ({"direction.1": np.ones(4, np.int32)}, "controlvector", "layer 1: a float tensor"),
        ({"direction.1": np.ones(MAX_HIDDEN + 1, np.float32)}, "controlvector", "layer 1: a float tensor"),
        ({"direction.1": F32, "direction.2": F32[:3]}, "controlvector", "layer 2: a float32 tensor"),
        ({"direction.1": F32 * np.nan}, "controlvector", "layer 1: it holds NaN"),
        ({"direction.1": F32 * 0}, "controlvector", "layer 1: it is zero"),
        ({"direction.1": F32 * 0, "direction.2": F32 * 0}, "controlvector", "layer 1: it is zero"),
        ({"direction.1": np.ones((2, 2), np.float32)}, "controlvector", "not F32 of 2 x 2"),
        ({"direction.1": np.full(2, 1e300)}, "controlvector", "layer 1: it holds NaN or infinity"),
    ],
)
def test_gguf_files_that_hold_no_vector(tmp_path, directions, architecture, message):
    with pytest.raises(InputError, match=message):
        read_vector(write_gguf(tmp_path / "v.gguf", directions, architecture))


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


HEAD = b"GGUF" + struct.pack("<I", 3)
MANY = 2**63


@pytest.mark.parametrize(
    "made",
    [
        lambda: HEAD,
        lambda: HEAD + struct.pack("<QQ", 0, MANY),
        lambda: HEAD + struct.pack("<QQ", MANY, 0),
        lambda: HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", MANY),
        lambda: HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 0, MANY),
        lambda: (
            HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 0, 30_000_000) + bytes(30_000_000)
        ),
        lambda: (
            HEAD + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100_000
        ),
        lambda: (
            HEAD + struct.pack("<QQ", 0, 10**6) + b"".join(text(b"%08d" % n) + b"\0\0\0\0\0" for n in range(500_000))
        ),
        lambda: HEAD + struct.pack("<QQ", 1, 0) + text(b"direction.1") + struct.pack("<IQIQ", 1, MANY, 0, 0),
        lambda: HEAD + struct.pack("<QQ", 1, 0) + text(b"direction.1") + struct.pack("<IQIQ", 1, 4, 0, MANY),
        lambda: HEAD + struct.pack("<QQ", 1, 0) + text(b"direction.1") + struct.pack("<I", 2**32 - 1),
        lambda: b"GGUF" + struct.pack("<I", 1),
    ],
    ids=range(12),
)
def test_hostile_gguf_headers_end_soon(tmp_path, made, monkeypatch):
    put(tmp_path / "v.gguf", made())
    reads, read = [], gguf.GGUFReader._get

    def counted(*args, **options):
        reads.append(1)
        return read(*args, **options)

    monkeypatch.setattr(gguf.GGUFReader, "_get", counted)
    with bounded(STEPS), pytest.raises(InputError, match="not a GGUF file of a control vector"):
        read_vector(tmp_path / "v.gguf")
    assert len(reads) <= MAX_GGUF_READS + 1


def test_gguf_cut_short_anywhere(tmp_path, vector):
    write_vector(vector, tmp_path / "v.gguf")
    whole = (tmp_path / "v.gguf").read_bytes()
    for length in range(0, len(whole) - 32, 7):
        with pytest.raises(InputError):
            read_vector(put(tmp_path / "cut.gguf", whole[:length]))


# Malformed files in number: an InputError or a vector that can be used, with little work, and nothing else.


def good_files() -> dict[str, bytes]:
    torch.manual_seed(1)
    vector = SteeringVector("mine", {n: torch.randn(8) for n in (1, 2)}, {1: 3.0}, PAPERS)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("v.safetensors", "v.gguf", "v.zip"):
            write_vector(vector, Path(folder) / name)
        files = {path.suffix: path.read_bytes() for path in Path(folder).iterdir()}
    deflated = zipped([(f"a/vec_layer_1_{MODEL}.pt", saved(torch.ones(4)))], zipfile.ZIP_DEFLATED)
    return files | {".pt": saved(torch.randn(8)), ".deflated": deflated}


FILES = good_files()


@st.composite
def malformed(draw, *kinds):
    """A good file cut, with bytes changed, numbers blown up, a part of another file in it; or anything at all."""
    kind = draw(st.sampled_from(kinds))
    good = FILES[kind]
    spot = st.integers(0, len(good))
    match draw(st.sampled_from(["cut", "flip", "flip", "number", "splice", "repeat", "anything"])):
        case "cut":
            return good[: draw(spot)]
        case "flip":
            changed = bytearray(good)
            for _ in range(draw(st.integers(1, 6))):
                changed[draw(st.integers(0, len(good) - 1))] = draw(st.integers(0, 255))
            return bytes(changed)
        case "number":
            at = draw(st.integers(0, len(good) - 8))
            return (
                good[:at]
                + struct.pack("<Q", draw(st.sampled_from([0, 2**31, 2**32 - 1, 2**63, 2**64 - 1])))
                + good[at + 8 :]
            )
        case "splice":
            other = FILES[draw(st.sampled_from(sorted(FILES)))]
            return good[: draw(spot)] + other[draw(st.integers(0, len(other))) :]
        case "repeat":
            at, end = sorted((draw(spot), draw(spot)))
            return good[:end] + good[at:]
    return good[: draw(st.integers(0, 24))] + draw(st.binary(max_size=300))


def survives(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / name, content)
        try:
            with bounded(STEPS):
                vector = read_vector(path)
        except InputError as refused:
            assert str(refused).isprintable() and folder not in str(refused)
            return
        assert vector.layers and all(0 <= layer < 10_000 for layer in vector.layers)
        for tensor in vector.layers.values():
            assert tensor.dtype == torch.float32 and tensor.shape == (vector.hidden_size,)
            assert tensor.isfinite().all() and tensor.any()
        assert 0 < len(vector.name) <= 120 and vector.name.isprintable()
        write_vector(vector, Path(folder) / "again.safetensors")


@hostile(600)
@given(malformed(".safetensors"))
def test_malformed_safetensors(content):
    survives(content, "v.safetensors")


@hostile(600)
@given(malformed(".gguf"))
def test_malformed_gguf(content):
    survives(content, "v.gguf")


@hostile(600)
@given(malformed(".pt", ".zip", ".deflated"))
def test_malformed_pt_and_zip(content):
    survives(content, f"vec_layer_3_{MODEL}.pt")


@hostile(600)
@given(st.data())
def test_malformed_pickles_in_good_zips(data):
    """Without this the zip's checksums would refuse nearly all of them before torch sees one."""
    good = pickle_of(torch.randn(8))
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    survives(with_pickle(bytes(changed), data.draw(st.binary(min_size=30, max_size=34))), f"vec_layer_3_{MODEL}.pt")
