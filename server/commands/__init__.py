"""The commands of `vivavoce`, a file each: their flags, and what they do and print."""
