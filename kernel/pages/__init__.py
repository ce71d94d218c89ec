"""The kit of pages: layout, pieces, styles and scripts, languages; rendered here, readable without a script."""
