"""Networks as plain nn.Modules, two and three dimensions in one class."""
