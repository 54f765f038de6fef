"""What is shown of a run: tables, figures, case studies, the audit of the papers, one page."""
