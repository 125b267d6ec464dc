"""Results → tables, figures and one page. Pure: data in, text out."""
