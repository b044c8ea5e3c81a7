"""What the jobs compute is what the model computes, and their inputs are real."""

import json

import numpy as np

from benchmarks.side_by_side import inputs, our_jobs, pictures
from tests.benchmarks.run_test import CHECKPOINT
from tests.shared_data import shared_data_directory

VOCABULARY = 60  # of the checkpoint


def test_caption_job_writes_all_tokens():
    job = {"kind": "caption", "model": CHECKPOINT, "batch_size": 2, "length": 8}
    token_ids = our_jobs.prepare(job).run()["token_ids"]
    assert token_ids.shape == (2, 8)
    assert (token_ids[:, 0] == VOCABULARY - 2).all() and (token_ids[:, -1] == VOCABULARY - 1).all()


def test_texts_are_framed_as_open_clip_frames_them():
    framed = inputs.framed_texts([[5, 400], list(range(20))], 6, VOCABULARY)
    assert framed[0, [0, 3, 4, 5]].tolist() == [58, 59, 0, 0]
    assert framed[1, -1] == 59 and (framed[1, 1:-1] < 58).all() and (framed[:, 1] > 2).all()


def test_trimming_takes_only_padding_off():
    framed = inputs.framed_texts([[5, 6], [7]], 30, VOCABULARY)
    assert inputs.trim(framed, 1).shape == (2, 4) and inputs.trim(framed, 8).shape == (2, 8)
    assert np.count_nonzero(inputs.trim(framed, 8)) == np.count_nonzero(framed)


def test_targets_are_the_next_tokens():
    assert inputs.next_tokens(np.array([[58, 5, 59, 0]])).tolist() == [[5, 59, 0, 0]]


def test_pictures_are_written_once(tmp_path):
    paths = pictures.picture_paths(tmp_path, 2)
    pictures.write_pictures(paths)
    written = [path.stat().st_mtime_ns for path in paths]
    pictures.write_pictures(paths)
    assert [path.stat().st_mtime_ns for path in paths] == written


def test_both_input_pipelines_give_the_same_pixels(tmp_path):
    paths = pictures.picture_paths(tmp_path, 3)
    pictures.write_pictures(paths)
    job = {"model": CHECKPOINT, "paths": list(map(str, paths)), "batch_size": 2}
    from_shards = our_jobs.prepare({"kind": "read_pictures", **job})
    from_files = our_jobs.prepare({"kind": "read_picture_files", **job})
    assert from_shards.items == from_files.items == 3
    np.testing.assert_allclose(from_shards.run()["pixels"], from_files.run()["pixels"], atol=1e-6)


def test_photographs_and_captions_of_a_real_folder(tmp_path):
    folder = shared_data_directory("captions_flickr8k")
    (path,) = pictures.picture_paths(tmp_path, 1, folder)
    pictures.write_pictures([path], folder)
    assert path.stat().st_size > 20_000
    with open(folder / inputs.CAPTION_FILE, encoding="utf-8") as rows:
        first = json.loads(next(rows))
    assert inputs.real_captions(folder, 1) == [first["captions"][0]]
