"""The paper's published numbers, and where its code and this toolkit differ."""
