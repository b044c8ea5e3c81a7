"""The registered experiments of CoCa."""

import pytest
from official.core import exp_factory

from official_coca.configs import coca  # noqa: F401  (registers the experiments)
from official_coca.configs.experiment import ExperimentConfig, experiment_names
from official_coca.errors import InvalidInputError


def experiment(name, **changes):
    config = exp_factory.get_exp_config(name)
    config.override(changes)
    config.validate()
    return config


def test_the_promised_experiments_are_registered():
    assert set(experiment_names()) >= {
        "coca_tiny_digits",
        "coca_small_photos",
        "coca_base_pretrain",
        "coca_large_pretrain",
        "coca_giant_pretrain",
    }


@pytest.mark.parametrize("name", experiment_names())
def test_experiment_is_valid_and_survives_its_own_dictionary(name):
    config = experiment(name)
    copy = ExperimentConfig()
    copy.override(config.as_dict())
    copy.validate()
    assert copy.as_dict() == config.as_dict()


def test_giant_pretraining_has_the_numbers_of_the_paper():
    config = experiment("coca_giant_pretrain")
    data, trainer = config.task.train_data, config.trainer
    assert data.global_batch_size == 65_536
    assert data.mixture == "fixed_shares"
    assert [source.kind for source in data.sources] == ["labels", "captions"]
    assert data.sources[0].share == data.sources[1].share
    assert trainer.train_steps == 500_000
    optimizer = trainer.optimizer_config.optimizer
    assert (optimizer.type, optimizer.beta_1, optimizer.beta_2) == ("adafactor", 0.9, 0.999)
    assert optimizer.weight_decay == 0.01
    rate = trainer.optimizer_config.learning_rate
    assert (rate.type, rate.peak_learning_rate, rate.warmup_steps) == ("linear", 8e-4, 10_000)
    losses = config.task.losses
    assert (losses.contrastive_weight, losses.captioning_weight) == (1, 2)
    assert losses.initial_temperature == 0.07


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"trainer": {"validation_interval": 700}},
            ["trainer.validation_interval=700", "checkpoint_interval=1000"],
        ),
        ({"trainer": {"steps_per_loop": 3}}, ["checkpoint_interval=1000", "steps_per_loop=3"]),
        ({"task": {"train_data": {"sources": [{}]}}}, ["sources[0].name is empty"]),
        (
            {"task": {"train_data": {"sources": [{"name": "a"}, {"name": "a"}]}}},
            ["sources[1].name='a'", "taken"],
        ),
        ({"runtime": {"distribution_strategy": False}}, ["distribution_strategy=False"]),
    ],
)
def test_values_that_do_not_fit_together_are_refused(changes, words):
    with pytest.raises(InvalidInputError) as error:
        experiment("coca_tiny_digits", **changes)
    for word in words:
        assert word in str(error.value)
