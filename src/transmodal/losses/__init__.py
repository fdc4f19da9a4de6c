"""Loss functions: pure, each returning its total and its named parts."""
