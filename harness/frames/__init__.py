"""A stored run as tables: for notebooks as pandas DataFrames, for other programs as files.

``columns`` says what stands in each table, ``records`` makes its rows from a run, ``tables`` makes
DataFrames of them, and ``files`` writes those as CSV and Parquet.
"""
