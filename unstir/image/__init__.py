"""Writing pictures: PNG files that carry their request, contact sheets, film strips, animations."""
