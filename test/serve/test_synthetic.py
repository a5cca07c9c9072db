"""Control files: what may be opened how, texts by offset, streams of documents."""

from __future__ import annotations

import errno

import pytest

from xget_lib.errors import NinepError
from xget_lib.ninep.file import WAITING, Handle
from xget_lib.ninep.messages import OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE
from xget_lib.ninep.stat import DMDIR
from xget_lib.ninep.wire import QTDIR, QTFILE
from xget_lib.serve.synthetic import Stream, SyntheticFile, Text, check_mode, root


@pytest.mark.parametrize("mode", [OREAD, OEXEC])
def test_a_file_for_reading_opens_for_reading(mode: int) -> None:
    check_mode(mode, 0o444)


@pytest.mark.parametrize(
    ("mode", "permissions", "number"),
    [
        (OWRITE, 0o444, errno.EROFS),
        (ORDWR, 0o444, errno.EROFS),
        (OREAD | OTRUNC, 0o444, errno.EROFS),
        (OREAD | ORCLOSE, 0o666, errno.EROFS),
        (OREAD, 0o222, errno.EACCES),
        (OEXEC, 0o222, errno.EACCES),
        (ORDWR, 0o222, errno.EACCES),
    ],
)
def test_a_mode_that_permissions_do_not_allow_is_refused(mode: int, permissions: int, number: int) -> None:
    with pytest.raises(NinepError) as caught:
        check_mode(mode, permissions)
    assert caught.value.errno == number


@pytest.mark.parametrize("mode", [OREAD, OWRITE, ORDWR, OWRITE | OTRUNC])
def test_a_control_file_for_both_opens_for_both(mode: int) -> None:
    check_mode(mode, 0o666)


def tree() -> SyntheticFile:
    text = SyntheticFile("text", 1, 0o444, lambda: Text(b"hello"), lambda: 5)
    return root([text, SyntheticFile("stream", 2, 0o666, Stream)])


def test_the_root_lists_its_files_in_their_order() -> None:
    assert [stat.name for stat in tree().open(OREAD).children()] == ["text", "stream"]


def test_qids_tell_files_from_directories_and_from_each_other() -> None:
    top = tree()
    qids = [top.qid, top.walk("text").qid, top.walk("stream").qid]
    assert [qid.type for qid in qids] == [QTDIR, QTFILE, QTFILE]
    assert len({qid.path for qid in qids}) == 3


def test_a_stat_has_mode_and_length() -> None:
    top = tree()
    assert top.stat().mode == DMDIR | 0o555
    stat = top.walk("text").stat()
    assert (stat.name, stat.mode, stat.length) == ("text", 0o444, 5)


def test_only_names_that_are_there_can_be_walked_to() -> None:
    with pytest.raises(NinepError) as caught:
        tree().walk("nothing")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(NinepError) as caught:
        tree().walk("text").walk("deeper")
    assert caught.value.errno == errno.ENOTDIR


def test_an_open_checks_the_mode() -> None:
    with pytest.raises(NinepError):
        tree().walk("text").open(OWRITE)


def test_a_text_is_read_by_offset() -> None:
    text = Text(b"hello")
    assert [text.read(offset, 3) for offset in (0, 3, 5, 2**64 - 1)] == [b"hel", b"lo", b"", b""]


def test_a_handle_refuses_everything_by_default() -> None:
    handle = Handle()
    for refused in (lambda: handle.read(0, 1), lambda: handle.write(0, b"x"), handle.children):
        with pytest.raises(NinepError):
            refused()


def test_a_stream_waits_until_there_is_a_document() -> None:
    stream = Stream()
    assert stream.read(0, 10) is WAITING
    stream.put(b"one")
    assert stream.read(0, 10) == b"one"
    assert stream.read(3, 10) is WAITING


def test_documents_come_one_a_read_whatever_the_offset() -> None:
    stream = Stream()
    stream.put(b"one")
    stream.put(b"two")
    assert [stream.read(99, 10), stream.read(0, 10)] == [b"one", b"two"]


def test_a_document_longer_than_the_read_goes_on_in_the_next() -> None:
    stream = Stream()
    stream.put(b"abcdef")
    stream.put(b"x")
    assert [stream.read(0, 4), stream.read(4, 4), stream.read(8, 4)] == [b"abcd", b"ef", b"x"]


def test_a_replacement_drops_documents_that_were_not_read() -> None:
    stream = Stream()
    stream.put(b"old")
    stream.replace(b"new")
    assert stream.read(0, 10) == b"new"
    assert stream.read(0, 10) is WAITING


def test_a_replacement_spares_the_rest_of_a_document_that_was_begun() -> None:
    stream = Stream()
    stream.put(b"begun\n")
    assert stream.read(0, 3) == b"beg"
    stream.replace(b"second\n")
    stream.replace(b"third\n")
    assert [stream.read(0, 10), stream.read(0, 10)] == [b"un\n", b"third\n"]
