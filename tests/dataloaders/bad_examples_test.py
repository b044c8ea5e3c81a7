"""Behaviour of the counter of bad examples and its callback."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_coca.dataloaders.bad_examples import BadExampleCounter, BadExampleMonitor
from official_coca.errors import InvalidInputError


def counted(seen, bad):
    counter = BadExampleCounter(["names", "web"])
    undecodable = tf.range(seen) < bad
    counter.add_images(tf.ones([seen], tf.int32), undecodable)
    return counter


def test_counts_go_to_their_source():
    counter = counted(10, 3)
    counter.add_empty(0, 4)
    assert counter.counts() == {
        "names": {"seen": 0, "undecodable": 0, "empty": 4},
        "web": {"seen": 10, "undecodable": 3, "empty": 0},
    }
    assert counter.summary() == (
        "skipped: names: 0 of 0 images undecodable, 4 examples without text; "
        "web: 3 of 10 images undecodable, 0 examples without text"
    )
    assert BadExampleCounter(["web"]).summary() == ""


@pytest.mark.parametrize("seen, bad, stops", [(99, 99, False), (100, 5, False), (100, 6, True)])
def test_check_stops_above_the_share_and_after_enough_images(seen, bad, stops):
    counter = counted(seen, bad)
    if stops:
        with pytest.raises(InvalidInputError, match="'web': 6 of 100 .*5%.*make_shards.py"):
            counter.check()
    else:
        counter.check()


def test_monitor_stops_fit_and_shows_counts(capsys):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 2), np.float32)
    good = BadExampleMonitor(counted(1000, 20))
    history = model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=[good])
    assert history.history["undecodable_images"] == [20, 20]
    assert capsys.readouterr().out.count("20 of 1,000") == 1
    with pytest.raises(InvalidInputError, match="'web'"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[BadExampleMonitor(counted(1000, 60))])


def test_counter_inside_a_strategy_is_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope(), pytest.raises(RuntimeError, match="outside"):
        BadExampleCounter(["web"])
