"""The field's nouns and rules: values and pure functions, no clock, no chance, no I/O."""
