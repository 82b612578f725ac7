"""Pictures on their way out: saving, the request inside the PNG, contact sheets, film strips."""
