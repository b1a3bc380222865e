"""Face age synthesis: generators that make faces older and younger, and their trial before networks that made none."""
