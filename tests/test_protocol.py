"""Protocols: files, hashes, and fields that are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastprobe.errors import InputError
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import ALPHA_GRID, DEFAULT, PROTOCOLS, FoldSpec, Protocol
from fastprobe.specs import ReplaySpec

RIDGE = Protocol.named("ridge")
NEUCO = Protocol.named("neuco")


def test_toml_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    groups = tmp_path / "groups.csv"
    groups.write_text("id,group\na,b\n")
    for protocol in (
        Protocol(),
        Protocol(name='odd "name"', alpha="auto", alpha_grid=(1e-5, 3.0), inner_folds=6, standardize=False, eps=0.1),
        Protocol(folds=FoldSpec("group-kfold", n_folds=7, seed=1, file=str(groups)), max_failed=0.0),
        *map(Protocol.named, PROTOCOLS),
        RIDGE.with_options(alpha=3.0),
        Protocol(probe="kernel", kernel=KernelSpec("polynomial", gamma=(0.1, 1.0), degree=3, landmarks=100)),
        NEUCO.with_options(folds=3).bound_to([("a", 20), ('odd "task"', 30)]),
        replace(NEUCO, standardize=False, replay=ReplaySpec(2, 16, 0.1, False, 128, store_probes=True)),
    ):
        file.write_text(protocol.to_toml())
        assert Protocol.from_toml(file) == protocol
        assert Protocol.from_toml(file).hash == protocol.hash


def test_hash_follows_what_decides_a_score(tmp_path: Path) -> None:
    base = RIDGE
    others = [
        *(Protocol.named(name) for name in PROTOCOLS if name != "ridge"),
        base.with_options(alpha=1.0),
        base.with_options(alpha="auto"),
        base.with_options(folds=10),
        replace(base, standardize=False),
        replace(base, eps=0.1),
        replace(base, max_failed=0.5),
        replace(base, folds=FoldSpec(seed=1)),
        replace(base, folds=FoldSpec("kfold")),
        replace(base.with_options(alpha="auto"), inner_folds=6),
        replace(base.with_options(alpha="auto"), alpha_grid=(1.0, 2.0)),
    ]
    assert len({base.hash, *(p.hash for p in others)}) == len(others) + 1
    assert replace(base, name="mine").hash == base.hash
    assert replace(base, alpha_grid=(1.0, 2.0), inner_folds=8).hash == base.hash  # not used at a fixed strength
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    for file in (one, two):
        file.write_text("id,group\na,b\n")
    by_file = [replace(base, folds=FoldSpec("group-shuffle", file=str(f))) for f in (one, two)]
    assert by_file[0].hash == by_file[1].hash  # the content counts, not the path
    two.write_text("id,group\na,c\n")
    assert replace(base, folds=FoldSpec("group-shuffle", file=str(two))).hash != by_file[0].hash


def test_hash_is_stable() -> None:
    """The hash is written into score tables: it may change only together with the version of the protocol."""
    assert {name: Protocol.named(name).hash for name in PROTOCOLS} == {
        "closed-form": "2e31313ab2ffc077",
        "ridge": "ca10a733fc00695f",
        "logistic": "139e05c0949160cd",
        "kernel": "6e9a949b7955ed07",
        "neuco": "9b691c21d22ee3d1",
        "neuco-independent": "0535afe71cf74c35",
    }


def test_hash_of_a_replay_follows_what_decides_it() -> None:
    def with_replay(**options) -> Protocol:
        return replace(NEUCO, replay=replace(NEUCO.replay, **options))

    others = [
        Protocol(),
        Protocol.named("neuco-independent"),
        NEUCO.with_options(folds=10),
        replace(NEUCO, standardize=False),
        with_replay(epochs=11),
        with_replay(batch_size=32),
        with_replay(learning_rate=0.01),
        with_replay(normalize_labels=False),
        with_replay(embedding_dim=1024),
        with_replay(store_probes=True),
        NEUCO.bound_to([("a", 20)]),
        NEUCO.bound_to([("a", 20), ("b", 30)]),
        NEUCO.bound_to([("b", 30), ("a", 20)]),
        NEUCO.bound_to([("a", 21), ("b", 30)]),
    ]
    assert len({NEUCO.hash, *(p.hash for p in others)}) == len(others) + 1
    assert NEUCO.bound_to([("a", 20)]).bound_to([("b", 30)]) == NEUCO.bound_to([("a", 20)])
    independent = Protocol.named("neuco-independent")
    assert independent.bound_to([("a", 20)]) == independent
    for name in ("closed-form", "ridge", "logistic", "kernel"):
        assert Protocol.named(name).bound_to([("a", 20)]) == Protocol.named(name)


def test_the_name_and_the_strength_follow_the_probe() -> None:
    assert Protocol() == Protocol.named(DEFAULT)
    for name in PROTOCOLS:
        assert Protocol.load(name).name == name
    strengths = {name: Protocol.named(name).alpha for name in PROTOCOLS}
    assert strengths == {
        "closed-form": "auto", "ridge": 100.0, "logistic": "auto", "kernel": "auto",
        "neuco": None, "neuco-independent": None,
    }  # fmt: skip
    assert [name for name in PROTOCOLS if Protocol.named(name).has_strength] == list(PROTOCOLS)[:4]
    assert Protocol().strengths == ALPHA_GRID
    assert RIDGE.strengths == (100.0,)
    assert NEUCO.strengths == ()


def test_every_kind_of_task_has_its_probe() -> None:
    probes = {
        name: [Protocol.named(name).probe_for(kind) for kind in ("regression", "classification")] for name in PROTOCOLS
    }
    assert probes == {
        "closed-form": ["ridge", "logistic"],
        "ridge": ["ridge", "ridge"],
        "logistic": [None, "logistic"],
        "kernel": ["kernel", "kernel"],
        "neuco": ["neuco", "neuco"],
        "neuco-independent": ["neuco", "neuco"],
    }
    assert [name for name in PROTOCOLS if Protocol.named(name).has_ridge] == ["closed-form", "ridge"]


def test_hash_of_a_kernel_follows_what_decides_it() -> None:
    base = Protocol.named("kernel")
    others = [
        base.with_options(alpha=1.0),
        *(
            base.with_options(kernel=spec)
            for spec in (
                KernelSpec("polynomial"),
                KernelSpec("polynomial", degree=2),
                KernelSpec("polynomial", coef0=0.0),
                KernelSpec(gamma=0.1),
                KernelSpec(gamma=(0.1, 1.0)),
                KernelSpec(landmarks=50),
                KernelSpec(seed=1),
            )
        ),
    ]
    assert len({base.hash, *(p.hash for p in others)}) == len(others) + 1
    assert base.to_dict()["kernel"] == KernelSpec().to_dict()


def test_fields_of_another_probe_are_refused() -> None:
    for options in ({"alpha": 1.0}, {"max_failed": 0.1}, {"inner_folds": 5}, {"alpha_grid": (1.0,)}):
        with pytest.raises(InputError, match="does not use it"):
            Protocol(probe="neuco", **options)
    for probe in ("closed-form", "ridge", "logistic", "kernel"):
        with pytest.raises(InputError, match=f"the probe {probe} does not use it"):
            Protocol(probe=probe, replay=ReplaySpec())
    for probe in ("closed-form", "ridge", "logistic", "neuco"):
        with pytest.raises(InputError, match=f"the probe {probe} does not use it"):
            Protocol(probe=probe, kernel=KernelSpec())
    for spec in (FoldSpec("kfold"), FoldSpec(seed=1), FoldSpec(test_size=0.2)):
        with pytest.raises(InputError, match="NeuCo-Bench's"):
            Protocol(probe="neuco", folds=spec)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("alpha = 0", "alpha"),
        ("alpha = -1.0", "alpha"),
        ("alpha = inf", "alpha"),
        ("alpha = nan", "alpha"),
        ("alpha = true", "alpha"),
        ('alpha = "some"', "alpha"),
        ("alpha_grid = []", "alpha_grid"),
        ("alpha_grid = [2.0, 1.0]", "alpha_grid"),
        ("alpha_grid = [1.0, 1.0]", "alpha_grid"),
        ('alpha_grid = "wide"', "alpha_grid"),
        ("inner_folds = 1", "inner_folds"),
        ("eps = 0.0", "eps"),
        ("max_failed = 1.0", "max_failed"),
        ("standardize = 1", "standardize"),
        ("version = 2", "version"),
        ('probe = "svm"', "probe"),
        ("name = 3", "name"),
        ("colour = 3", "colour"),
        ("folds = 40", "folds"),
        ("[folds]\nn_folds = 0", "folds.n_folds"),
        ("[folds]\nn_folds = 2.5", "folds.n_folds"),
        ('[folds]\nscheme = "random"', "folds.scheme"),
        ('[folds]\nscheme = "kfold"\nn_folds = 1', "folds.n_folds"),
        ("[folds]\ntest_size = 1.0", "folds.test_size"),
        ("[folds]\nseed = -1", "folds.seed"),
        ('[folds]\nscheme = "group-shuffle"', "folds.file"),
        ('[folds]\nfile = "groups.csv"', "folds.file"),
        ("[folds]\nk = 3", "folds.k"),
        ("alpha = ", "TOML"),
        ("[replay]\nepochs = 3", "replay"),
        ('probe = "neuco"\nreplay = 3', "replay"),
        ("[kernel]\nlandmarks = 100", "kernel"),
        ('probe = "ridge"\n[kernel]\nlandmarks = 100', "kernel"),
        ('probe = "neuco"\n[kernel]\nlandmarks = 100', "kernel"),
        ('probe = "kernel"\nkernel = "rbf"', "kernel"),
        ('probe = "kernel"\n[kernel]\nwidth = 2.0', "kernel.width"),
        ('probe = "kernel"\n[kernel]\nkernel = "linear"', "kernel.kernel"),
        ('probe = "kernel"\n[kernel]\nlandmarks = 0', "kernel.landmarks"),
        ('probe = "kernel"\n[kernel]\ngamma = [0.1, "median"]', "kernel.gamma"),
        ('probe = "neuco"\nalpha = 3.0', "alpha"),
        ('probe = "neuco"\n[folds]\nscheme = "kfold"', "folds.scheme"),
        *(
            (f'probe = "neuco"\n[replay]\n{name} = {value}', f"replay.{name}")
            for name, value in (
                ("epochs", "0"),
                ("epochs", "1.5"),
                ("batch_size", "0"),
                ("batch_size", '"64"'),
                ("learning_rate", "0"),
                ("learning_rate", "inf"),
                ("learning_rate", "true"),
                ("normalize_labels", "1"),
                ("embedding_dim", "0"),
                ("embedding_dim", "70000"),
                ("stream", '"own"'),
                ("store_probes", '"no"'),
                ("tasks", "[]"),
                ("tasks", '[["a", 20], ["a", 30]]'),
                ("tasks", '["a"]'),
                ("tasks", '[["a", 1]]'),
                ("momentum", "0.9"),
            )
        ),
        ('probe = "neuco"\n[replay]\nstream = "independent"\ntasks = [["a", 20]]', "replay.tasks"),
    ],
)
def test_wrong_fields_name_file_and_field(tmp_path: Path, text: str, where: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        Protocol.from_toml(file)
    message = str(caught.value)
    assert str(file) in message
    assert where in message
    assert "expected" in message
    assert "To fix" in message


def test_missing_file_and_name() -> None:
    with pytest.raises(InputError, match="No such file"):
        Protocol.load("absent.toml")
    with pytest.raises(InputError, match=r"\.toml"):
        Protocol.load("absent")


def test_fixed_split_has_one_fold() -> None:
    spec = FoldSpec("fixed", n_folds=40, file="split.csv")
    assert spec.n_folds == 1
    with pytest.raises(InputError, match="fixed split"):
        Protocol(folds=spec).with_options(folds=10)
