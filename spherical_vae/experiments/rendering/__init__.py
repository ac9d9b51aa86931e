"""From records to Markdown tables, figures and pages; nothing is trained or measured here."""
