"""Pure types and parsers that every layer shares: no I/O, no clocks."""
