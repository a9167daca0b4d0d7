"""Used from above and below."""

WHO = "relative"
