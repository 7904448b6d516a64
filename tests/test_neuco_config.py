"""NeuCo-Bench's config files: what they mean, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastprobe.compat.neuco import NeucoConfig
from fastprobe.errors import InputError
from fastprobe.protocol import Protocol

LINEAR = """\
# the keys of NeuCo-Bench's sample
k_folds: 40
probe_type: "linear"
probe_params:
  batch_size: 64
  epochs: 10
  learning_rate: 0.001
  device: "auto"

embedding_dim: null
standardize_embeddings: true
normalize_labels: true
enable_plots: false
update_leaderboard: false
store_probes: false
task_filter: null # for example ["biomass_mean", "biomass_std"]
"""

SVM = """\
k_folds: 40
probe_type: "svm"
probe_params:
  C_start_end: [0.001, 1000]
  epsilon_list: [0.01, 0.05, 0.1, 0.5]
  kernel_degree_list: [2, 3]
  opt_params:
    n_iter: 50
    optimizer_kwargs:
      base_estimator: "RF"
enable_plots: false
"""

SHORT = """\
k_folds: 3
probe_type: linear
probe_params: {epochs: 2, batch_size: 8, learning_rate: 0.01}
"""


@pytest.fixture
def read(tmp_path):
    """Read a config from its text."""

    def read(text: str | bytes) -> NeucoConfig:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return NeucoConfig.read(path)

    return read


def test_the_sample_gives_the_protocol_neuco(read):
    config = read(LINEAR)
    assert config.protocol() == Protocol.named("neuco")
    assert config.device == "auto"


def test_every_setting_reaches_the_protocol(read):
    text = (
        SHORT
        + "embedding_dim: 32\nstandardize_embeddings: false\nnormalize_labels: false\n"
        + "store_probes: true\noutput_fold_results: true\nupdate_leaderboard: true\ntask_filter: [b, a]\n"
    )
    config = read(text)
    protocol = config.protocol()
    spec = protocol.replay
    assert (protocol.folds.n_folds, spec.epochs, spec.batch_size, spec.learning_rate) == (3, 2, 8, 0.01)
    assert (spec.embedding_dim, protocol.standardize, spec.normalize_labels, spec.store_probes) == (
        32, False, False, True,
    )  # fmt: skip
    assert (config.output_fold_results, config.update_leaderboard, config.task_filter) == (True, True, ("b", "a"))


def test_missing_keys_have_the_defaults_of_neuco_bench(read):
    config = read(SHORT)
    assert config.enable_plots
    assert config.standardize_embeddings
    assert config.normalize_labels
    assert not config.update_leaderboard
    assert not config.output_fold_results
    assert not config.store_probes
    assert (config.embedding_dim, config.task_filter, config.device) == (None, None, "auto")


def test_results_carry_the_config_without_the_device(read):
    config = read("task_filter: null\n" + LINEAR.replace("task_filter: null", "") + "output_fold_results: true\n")
    assert list(config.stored)[:4] == ["task_filter", "k_folds", "probe_type", "probe_params"]
    assert list(config.stored)[-1] == "output_fold_results"
    assert config.stored["probe_params"] == {"batch_size": 64, "epochs": 10, "learning_rate": 0.001}
    assert list(config.hyperparameters.items()) == [("epochs", 10), ("learning_rate", 0.001), ("batch_size", 64)]


def test_whole_numbers_stay_whole_in_what_is_stored(read):
    config = read(SHORT.replace("0.01", "1"))
    assert config.stored["probe_params"]["learning_rate"] == 1
    assert isinstance(config.hyperparameters["learning_rate"], int)


def test_json_and_aliases_are_yaml(read):
    assert read('{"k_folds": 3, "probe_type": "linear", "probe_params": {"epochs": 2, "batch_size": 8, '
                '"learning_rate": 1e-2}}'.replace("1e-2", "0.01")).k_folds == 3  # fmt: skip
    aliased = SHORT.replace("epochs: 2", "epochs: &two 2") + "embedding_dim: *two\n"
    assert read(aliased).embedding_dim == 2
    assert read("\ufeff" + SHORT).k_folds == 3


def replaced(old: str, new: str) -> str:
    assert old in LINEAR
    return LINEAR.replace(old, new)


BROKEN = {
    "svm": (SVM, "line 2, probe_type", "svm", "linear", "fastprobe score --protocol kernel"),
    "unknown probe": (replaced('"linear"', "knn"), "line 3, probe_type", "knn", "linear", "probe_type: linear"),
    "no probe": (replaced('probe_type: "linear"', ""), "probe_type", "no key 'probe_type'", "linear", "add probe_type"),
    "no folds": (replaced("k_folds: 40", ""), "k_folds", "no key 'k_folds'", "1 to 10000", "add k_folds"),
    "no epochs": (replaced("  epochs: 10\n", ""), "probe_params.epochs", "no key 'epochs' in probe_params",
                  "at least 1", "add epochs"),
    "unknown key": (LINEAR + "normalise_labels: true\n", "line 17, normalise_labels", "unknown key",
                    "k_folds, probe_type", "write normalize_labels"),
    "unknown parameter": (replaced("epochs", "epoch"), "line 6, probe_params.epoch", "unknown key 'epoch'",
                          "epochs, batch_size, learning_rate, device", "write epochs"),
    "key of another level": (replaced("  epochs: 10\n", "") + "epochs: 10\n", "line 16, epochs", "unknown key",
                             "k_folds", "move it to probe_params"),
    "far from any key": (LINEAR + "colour: red\n", "line 17, colour", "unknown key 'colour'", "k_folds", "remove it"),
    "key that is no text": (LINEAR + "7: 8\n", "line 17, 7", "unknown key '7'", "k_folds", "remove it"),
    "zero folds": (replaced("k_folds: 40", "k_folds: 0"), "line 2, k_folds", "0 (int)", "1 to 10000", "correct"),
    "folds as text": (replaced("k_folds: 40", 'k_folds: "40"'), "line 2, k_folds", "'40' (str)", "whole number",
                      "without quotes"),
    "a bool for a number": (replaced("k_folds: 40", "k_folds: yes"), "k_folds", "True (bool)", "whole number",
                            "correct k_folds"),
    "batch size as text": (replaced("batch_size: 64", 'batch_size: "64"'), "line 5, probe_params.batch_size",
                           "'64' (str)", "at least 1", "without quotes"),
    "no batch": (replaced("batch_size: 64", "batch_size: 0"), "probe_params.batch_size", "0 (int)", "at least 1",
                 "correct"),
    "half an epoch": (replaced("epochs: 10", "epochs: 1.5"), "line 6, probe_params.epochs", "1.5 (float)",
                      "whole number", "correct"),
    "no epoch at all": (replaced("epochs: 10", "epochs: 0"), "probe_params.epochs", "0 (int)", "at least 1", "correct"),
    "negative learning rate": (replaced("0.001", "-0.001"), "line 7, probe_params.learning_rate", "-0.001 (float)",
                               "above 0", "correct"),
    "infinite learning rate": (replaced("0.001", ".inf"), "probe_params.learning_rate", "inf (float)", "finite",
                               "correct"),
    "learning rate that YAML takes for text": (replaced("0.001", "1e-3"), "probe_params.learning_rate",
                                               "'1e-3' (str)", "a finite number above 0", "write 0.001"),
    "device": (replaced('"auto"', "tpu"), "line 8, probe_params.device", "'tpu' (str)", "auto, cpu or cuda", "correct"),
    "dimension": (replaced("embedding_dim: null", "embedding_dim: -1"), "line 10, embedding_dim", "-1 (int)", "65536",
                  "correct"),
    "dimension true": (replaced("embedding_dim: null", "embedding_dim: true"), "embedding_dim", "True (bool)", "null",
                       "correct"),
    "flag": (replaced("normalize_labels: true", "normalize_labels: 1"), "line 12, normalize_labels", "1 (int)",
             "true or false", "correct"),
    "flag null": (replaced("enable_plots: false", "enable_plots:"), "enable_plots", "null", "true or false", "correct"),
    "one task": (replaced("task_filter: null", "task_filter: height"), "line 16, task_filter", "'height' (str)",
                 "a list", "correct"),
    "no tasks": (replaced("task_filter: null", "task_filter: []"), "task_filter", "[] (list)", "null for all",
                 "correct"),
    "tasks by number": (replaced("task_filter: null", "task_filter: [1]"), "task_filter", "[1] (list)", "names",
                        "correct"),
    "parameters": (SHORT.replace("{epochs: 2, batch_size: 8, learning_rate: 0.01}", "[1]"), "line 3, probe_params",
                   "[1] (list)", "a mapping", "correct"),
    "key twice": (LINEAR + "k_folds: 10\n", "line 17, k_folds", "again; it is already on line 2", "once", "remove"),
    "parameter twice": (replaced("  device", "  epochs: 3\n  device"), "line 8, probe_params.epochs",
                        "already on line 6", "once", "remove"),
    "key twice on a line": ("{k_folds: 3, k_folds: 3}", "line 1, k_folds", "again", "once", "remove"),
    "not YAML": (replaced("k_folds: 40", "k_folds: [40"), "line 3, column 11", "not YAML", "YAML", "correct"),
    "a tab": (replaced("  epochs", "\tepochs"), "line 6, column 1", "not YAML", "YAML", "correct"),
    "Python objects": (replaced("k_folds: 40", "k_folds: !!python/name:os.system"), "line 2, column 10", "not YAML",
                       "YAML", "correct"),
    "a key that is a list": ("? [a, b]\n: c\n", "line 1, column 3", "unhashable", "YAML", "correct"),
    "no such date": (replaced("k_folds: 40", "k_folds: 2025-99-99"), "config.yaml", "not YAML", "YAML", "correct"),
    "nested too deep": ("[" * 1000, "config.yaml", "not YAML", "YAML", "correct"),
    "not text": (b"k_folds: \xff", "line 1", "0xff", "UTF-8", "save"),
    "a list": ("- a\n- b\n", "config.yaml", "no mapping", "key: value", "sample_config_linear"),
    "empty": ("", "config.yaml", "nothing", "k_folds, probe_type and probe_params", "sample_config_linear"),
    "comments only": ("# nothing\n", "config.yaml", "nothing", "k_folds", "sample_config_linear"),
    "huge": ("# " + "x" * 1_000_000, "config.yaml", "1,000,002 bytes", "small", "config itself"),
}  # fmt: skip
"""Text, and what the parts of the message must contain: place, found, expected, fix."""


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configs(read, tmp_path, name):
    text, *parts = BROKEN[name]
    with pytest.raises(InputError) as caught:
        read(text)
    error = caught.value
    assert str(tmp_path) in error.where
    for part, said in zip(parts, (error.where, error.found, error.expected, error.fix), strict=True):
        assert part in said


def test_a_config_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="nothing there"):
        NeucoConfig.read(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="a readable YAML file"):
        NeucoConfig.read(tmp_path)
