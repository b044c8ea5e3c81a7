"""What the page may ask for, checked."""

import json

from official_coca.errors import InvalidInputError
from official_coca.evaluation.zero_shot import check_class_names
from official_coca.serving.request_error import RequestError

NUM_NEIGHBOURS = 24
MAX_LABELS = 200
_MOST_CHARACTERS = 1000


async def read_body(request):
    """Returns the body of a request.

    Raises:
        RequestError: it is compressed, which the page never does.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestError(415, "send the body as it is, without Content-Encoding")
    return await request.read()


def read_text(text):
    """Returns a text to search for, stripped.

    Raises:
        InvalidInputError: it is empty, too long, or no Unicode.
    """
    text = text.strip()
    if not text:
        raise InvalidInputError("type what to look for")
    if len(text) > _MOST_CHARACTERS:
        raise InvalidInputError(f"the text has more than {_MOST_CHARACTERS} characters; shorten it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("the text is not valid Unicode") from None
    return text


def read_labels(body):
    """Returns the image's name and the labels of a request, {"image": name, "labels": [text]}.

    Raises:
        InvalidInputError: it is something else; there are no or too many labels; two are the same.
    """
    try:
        fields = json.loads(body)
        image, labels = fields["image"], fields["labels"]
    except (ValueError, KeyError, TypeError, RecursionError):  # the last: nested too deeply
        image, labels = None, None
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not is_list or not isinstance(image, str):
        raise InvalidInputError('this is not {"image": name, "labels": [text, ...]}')
    if len(labels) > MAX_LABELS:
        raise InvalidInputError(f"these are {len(labels)} labels; give at most {MAX_LABELS}")
    labels = [read_text(label) for label in labels]
    check_class_names(labels, "the list")
    return image, labels
