"""Which headings divide a completion into reasoning and response? (docs/design.md C7)"""

THINKING = "## Thinking"
FINAL = "## Final Response"
