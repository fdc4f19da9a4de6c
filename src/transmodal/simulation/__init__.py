"""Pairs out of physics: bodies that exist in the computer only, and the images that instruments would make of them."""
