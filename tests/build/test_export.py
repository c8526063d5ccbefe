"""A network becomes one ONNX graph: in edgecnn's form, silent, the same bytes each time; or one sentence says why not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgecnn.build.export import export_module
from edgecnn.build.metadata import stamp
from edgecnn.build.onnx_io import parse
from edgecnn.build.source import open_source
from edgecnn.device.engines import open_graph
from edgecnn.device.session import open_session
from edgecnn.errors import SourceRejected, UsageError
from tests.build.conftest import Small
from tests.fixtures.modules import NETS

Images = Callable[..., NDArray[np.float32]]
SIZE = (3, 12, 10)


def test_the_graph_has_edgecnns_form_and_the_networks_answers(small: nn.Module, images: Images) -> None:
    source = open_source(small, input_size=SIZE)
    data = export_module(source)
    model = parse(data)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (8, [("", 18)])
    engine = open_graph(data)
    assert engine.inputs == (("input", "float32", (1, 3, 12, 10)),)
    assert engine.outputs == (("logits", "float32", (1, 4)),)
    x = images(5, *SIZE)
    with torch.no_grad():
        expected = small(torch.tensor(x)).numpy()
    np.testing.assert_allclose(open_session(data, source.spec).logits(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(source.logits(x), expected, rtol=1e-6, atol=1e-6)


def test_nodes_are_named_for_their_modules_and_every_value_has_a_shape(small: nn.Module) -> None:
    model = parse(export_module(open_source(small, input_size=SIZE)))
    names = [node.name for node in model.graph.node]
    assert names[:2] == ["features.0/Conv", "features.2/Relu"]
    assert names[-1] == "fc/Gemm"
    assert len(set(names)) == len(names)
    shaped = {value.name for value in (*model.graph.value_info, *model.graph.output) if value.type.tensor_type.HasField("shape")}
    assert {name for node in model.graph.node for name in node.output} <= shaped


def test_nothing_of_this_machine_is_left_in_the_graph(small: nn.Module) -> None:
    data = export_module(open_source(small, input_size=SIZE))
    for trace in (b"site-packages", b".py", b"pkg.torch", str(Path.home()).encode(), str(Path(__file__).parent).encode()):
        assert trace not in data


@pytest.mark.parametrize("opset", [17, 20])
def test_the_opset_that_is_asked_for(small: nn.Module, images: Images, opset: int) -> None:
    source = open_source(small, input_size=SIZE)
    data = export_module(source, opset=opset)
    model = parse(data)
    assert model.opset_import[0].version == opset
    assert model.ir_version <= 9
    x = images(1, *SIZE)
    np.testing.assert_allclose(open_graph(data).run_one(x), source.logits(x), rtol=1e-5, atol=1e-5)


def test_an_opset_that_onnx_can_not_convert_to_is_told(small: nn.Module) -> None:
    with pytest.raises(SourceRejected, match=r"opset 18, and onnx can't convert it to 13 \(No Adapter .* for Relu\); ask for opset 18"):
        export_module(open_source(small, input_size=SIZE), opset=13)


@pytest.mark.parametrize("opset", [12, 21])
def test_an_opset_that_devices_do_not_read_is_refused(small: nn.Module, opset: int) -> None:
    with pytest.raises(UsageError, match=f"Opset {opset} was asked for; between 13 and 20"):
        export_module(open_source(small, input_size=SIZE), opset=opset)


def test_a_larger_batch_and_an_open_one(small: nn.Module, images: Images) -> None:
    x = images(5, *SIZE)
    for batch in (2, "dynamic"):
        source = open_source(small, input_size=SIZE, batch=batch)
        data = export_module(source)
        first = "batch" if batch == "dynamic" else 2
        assert open_graph(data).inputs[0].shape == (first, *SIZE)
        assert open_graph(data).outputs[0].shape == (first, 4)
        np.testing.assert_allclose(open_session(data, source.spec).logits(x), source.logits(x), rtol=1e-5, atol=1e-5)


class Frozen(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean((2, 3)).view(2, -1))


class Mixing(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x).mean((2, 3))
        return self.fc(x - x.mean(0))


def test_a_frozen_batch_is_noticed() -> None:
    source = open_source(Frozen(), input_size=SIZE, batch="dynamic")
    with pytest.raises(SourceRejected, match=r"frozen at 2, an open batch was asked for: export with a batch of 2, .*x\.flatten\(1\)"):
        export_module(source)
    assert export_module(open_source(Frozen(), input_size=SIZE, batch=2))


def test_answers_that_depend_on_the_other_images_are_noticed() -> None:
    with pytest.raises(SourceRejected, match="differently in other company"):
        export_module(open_source(Mixing(), input_size=SIZE, batch="dynamic"))


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_unsupported_operator_is_named_with_its_module(small: nn.Module) -> None:
    small.features.append(Bessel())
    with pytest.raises(SourceRejected) as caught:
        export_module(open_source(small, input_size=SIZE))
    assert str(caught.value) == (
        "ONNX has nothing for the operator aten.special_bessel_j0.default, which features.3 (Bessel) uses; "
        "replace it there by operators that ONNX has."
    )


class Deciding(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            x = x * 2
        return super().forward(x)


def test_control_flow_by_values_is_told_with_its_line() -> None:
    with pytest.raises(SourceRejected, match=r"decides by the values in a tensor.*\(test_export\.py, line \d+: `if x\.sum\(\) > 0:`\)"):
        export_module(open_source(Deciding(), input_size=SIZE))


class Noisy(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("the network prints")
        sys.stderr.write("and writes errors\n")
        logging.getLogger("torch.onnx").warning("a library warns")
        return super().forward(x)


def test_chatter_goes_to_the_log_and_not_to_the_screen(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="edgecnn.build"):
        export_module(open_source(Noisy(), input_size=SIZE))
    assert capfd.readouterr() == ("", "")
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name == "edgecnn.build")
    for line in ("the network prints", "and writes errors", "torch.onnx: a library warns", "[torch.onnx] Translate the graph into ONNX"):
        assert line in logged


def test_the_network_is_left_as_it_was(small: nn.Module) -> None:
    small.train()
    small.dropout.eval()
    before = {name: value.clone() for name, value in small.state_dict().items()}
    export_module(open_source(small, input_size=SIZE))
    assert [layer.training for layer in (small, small.features, small.dropout)] == [True, True, False]
    after = small.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not small._forward_hooks


def test_the_essentials_are_stamped_into_the_graph(small: nn.Module) -> None:
    source = open_source(small, input_size=SIZE, labels="cat,dog,bird,fish", name="pets", version="2.1.0", preprocess="unit")
    data = export_module(source)
    stamped = stamp(data, source.spec)
    found = {entry.key: entry.value for entry in onnx.load_from_string(stamped).metadata_props}
    assert (found["edgecnn.name"], found["edgecnn.version"], found["edgecnn.task"]) == ("pets", "2.1.0", "single-label")
    assert json.loads(found["edgecnn.labels"]) == ["cat", "dog", "bird", "fish"]
    assert json.loads(found["edgecnn.preprocess"])["size"] == [12, 10]
    assert stamp(stamped, source.spec) == stamped
    assert [node.name for node in parse(stamped).graph.node] == [node.name for node in parse(data).graph.node]


SCRIPT = """
import sys
from tests.build.test_export import stamped_inception
sys.stdout.buffer.write(stamped_inception())
"""


def stamped_inception() -> bytes:
    net = NETS["inception"]
    source = open_source(net.build(), input_size=net.input_shape)
    return stamp(export_module(source), source.spec)


def test_another_process_in_another_folder_writes_the_same_bytes(tmp_path: Path) -> None:
    surroundings = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**os.environ, **surroundings}, stdout=subprocess.PIPE)
    here = stamped_inception()
    there, _ = child.communicate(timeout=300)
    assert len(here) > 10_000
    assert here == there
