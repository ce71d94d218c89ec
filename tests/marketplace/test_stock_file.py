"""Files of goods: what is read of them, and that nothing is taken of a file with a bad line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.goods.stock_file import MAX_CONTENT, MAX_PROBLEMS, MAX_ROWS, BadStockFile, read_stock

NOW = 1_790_000_000_000


def refused(raw: bytes) -> list[tuple[int, str]]:
    with pytest.raises(BadStockFile) as caught:
        read_stock(raw, NOW)
    return [(each.line, each.message) for each in caught.value.problems]


def contents(raw: bytes) -> list[str]:
    return [each.content for each in read_stock(raw, NOW)]


def test_goods_and_their_ends_are_read() -> None:
    raw = b"content,expiresAt\r\nAAAA,2100-01-01T00:00:00Z\r\nBBBB,\r\n"

    first, second = read_stock(raw, NOW)

    assert (first.line, first.content, first.expires_at) == (2, "AAAA", 4_102_444_800_000)
    assert (second.line, second.content, second.expires_at) == (3, "BBBB", None)


@pytest.mark.parametrize("cell", ["=1+1", "+49 170", "-5", "@SUM(A1)", '=HYPERLINK(""http://x"")'])
def test_what_looks_like_a_formula_is_a_code_like_any_other(cell: str) -> None:
    assert contents(f'content\n"{cell}"\n'.encode()) == [cell.replace('""', '"')]


def test_a_good_may_have_several_lines_and_is_named_by_its_first() -> None:
    raw = b'content\n"-----BEGIN KEY-----\nabc\n-----END KEY-----"\nB\n\nB\n'

    assert refused(raw) == [(7, "has the same content as line 5")]
    assert contents(raw[:-3]) == ["-----BEGIN KEY-----\nabc\n-----END KEY-----", "B"]


def test_a_file_of_a_spreadsheet_is_read_and_another_encoding_is_named_with_its_line() -> None:
    assert contents("\ufeffcontent\nÄÖÜ\n".encode()) == ["ÄÖÜ"]
    assert refused("content\nok\nÄ\n".encode("latin-1")) == [(3, "is not UTF-8: save the file as CSV UTF-8")]
    assert refused("content\nok\n".encode("utf-16"))[0][0] == 1


@pytest.mark.parametrize(
    "raw", [b"", b"\n\n", b"code\nA\n", b"content;expiresAt\nA;\n", b"content,price\nA,1\n", b"AAAA\nBBBB\n"]
)
def test_a_file_names_its_columns(raw: bytes) -> None:
    [(line, message)] = refused(raw)

    assert (line, message) == (1, "must name the columns: content, or content,expiresAt")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("A,,", "has 3 cells, and there are 2 columns"),
        ('" ",', "has no content"),
        (",2100-01-01T00:00:00Z", "has no content"),
        ("A\x07,", "has control characters"),
        ("A,tomorrow", "has an expiresAt that is no RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"),
        (
            "A,2100-01-01T00:00:00",
            "has an expiresAt that is no RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z",
        ),
        ("A,2020-01-01T00:00:00Z", "has an expiresAt in the past"),
        ("A," + "9" * 70, "has an expiresAt that is no RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"),
        (f"{'x' * (MAX_CONTENT + 1)},", f"has more than {MAX_CONTENT} characters"),
    ],
)
def test_a_bad_line_is_named_and_what_stands_in_it_is_not(row: str, why: str) -> None:
    assert refused(f"content,expiresAt\nGOOD,\n{row}\n".encode()) == [(3, why)]


def test_a_file_that_is_no_csv_is_refused_with_the_line() -> None:
    [(line, message)] = refused(b'content\nA\n"B"x\n')

    assert (line, message.startswith("is no CSV")) == (3, True)


def test_a_file_has_so_many_goods_and_no_more() -> None:
    lines = [f"C{number}" for number in range(MAX_ROWS + 1)]

    assert len(contents("\n".join(["content", *lines[:-1]]).encode())) == MAX_ROWS
    assert refused("\n".join(["content", *lines]).encode()) == [
        (MAX_ROWS + 2, f"is beyond the {MAX_ROWS} goods a file may have")
    ]
    assert refused(b"content\n") == [(1, "is the only one: there are no goods in the file")]


def test_so_many_problems_are_named_and_all_are_counted() -> None:
    raw = b"content\n" + b'" "\n' * (MAX_PROBLEMS + 10)
    with pytest.raises(BadStockFile) as caught:
        read_stock(raw, NOW)

    assert (len(caught.value.problems), caught.value.count) == (MAX_PROBLEMS, MAX_PROBLEMS + 10)


def judged(raw: bytes) -> tuple[int, int]:
    """Return how many goods, and how many problems, a file has."""
    try:
        found = read_stock(raw, NOW)
    except BadStockFile as exc:
        return 0, exc.count
    return len({each.content for each in found}), 0


@given(st.binary(max_size=300))
def test_whatever_is_sent_is_read_or_refused(raw: bytes) -> None:
    goods, problems = judged(raw)

    assert (goods > 0) != (problems > 0)
