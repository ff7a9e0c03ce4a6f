"""Reading the source: its tree, its files' content, its package database, its accounts. Never writes."""
