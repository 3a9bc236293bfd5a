from __future__ import annotations

from pathlib import Path

import pytest

from rankops.data.retail import import_retail
from rankops.errors import BadInput

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINES = """\
1,22423,RED LAMP,2,2011-01-03 10:00:00,3.5,17850,UK
1,85123a,BLUE MUG,1,2011-01-03 10:00:00,2.5,17850,UK
1,22423,RED LAMP,1,2011-01-03 10:00:00,3.5,17850,UK
C2,22423,RED LAMP,-2,2011-01-04 10:00:00,3.5,17850,UK
3,22423,RED LAMP AGAIN,0,2011-01-05 10:00:00,3.5,,UK
4,POST,POSTAGE,1,2011-01-05 10:00:00,18,,FR
5,22423,RED LAMP NEW,1,2011-01-06 10:00:00,4.5,,FR
5,21212,,1,2011-01-06 10:00:00,4.5,,FR
"""


def write(path: Path, text: str) -> Path:
    path.write_text(HEADER + text)
    return path


def test_lines_that_are_no_sale_of_a_product_are_dropped_and_counted(tmp_path: Path) -> None:
    found = import_retail(write(tmp_path / "a.csv", LINES))
    assert found.catalogue.select("product_id", "title", "price").rows() == [
        ("22423", "RED LAMP NEW", 4.0), ("85123A", "BLUE MUG", 2.5),
    ]  # fmt: skip
    assert found.info["dropped"] == {
        "cancellations": 1, "quantity or price not above zero": 1, "no description": 1, "no product": 1,
        "repeated in its invoice": 1,
    }  # fmt: skip
    assert found.interactions["search_id"].to_list() == ["1", "1", "5"]


def test_customers_are_hashed_and_an_invoice_without_one_is_its_own(tmp_path: Path) -> None:
    users = import_retail(write(tmp_path / "a.csv", LINES)).interactions["user_id"].to_list()
    assert users[0] == users[1] and "17850" not in users[0]
    assert users[2] == "i5"


def test_a_number_that_cannot_be_read_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="row 2: Quantity"):
        import_retail(write(tmp_path / "a.csv", LINES.replace("85123a,BLUE MUG,1", "85123a,BLUE MUG,one")))
    (tmp_path / "b.csv").write_text("InvoiceNo,StockCode\n1,2\n")
    with pytest.raises(BadInput, match="no column Description"):
        import_retail(tmp_path / "b.csv")
