"""The explorer's four views, one file each."""
