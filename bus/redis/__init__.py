"""The bus on one or several Redis servers."""
