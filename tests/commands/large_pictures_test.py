"""How many pictures are decoded at a time."""

from official_coca.commands.large_pictures import one_at_a_time


def test_large_pictures_wait_for_each_other_and_small_ones_do_not():
    with one_at_a_time(20_000_000):
        assert not one_at_a_time(30_000_000).acquire(blocking=False)
        with one_at_a_time(1_000_000):
            pass
