"""Other packages' ways of asking, answered by this engine; none of them is needed to import it."""
