"""Tables of an evaluation, with the published figures beside them."""

from geometrycrafter.evaluation.report.formats import read_report, write_report, write_table
from geometrycrafter.evaluation.report.summary import Report
from geometrycrafter.evaluation.report.table import Table, combined, reasons, table_of

__all__ = ["Report", "Table", "combined", "read_report", "reasons", "table_of", "write_report", "write_table"]
