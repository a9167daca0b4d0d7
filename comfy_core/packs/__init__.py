"""Node packs: found, checked, imported, reported. One that fails takes nothing else down."""
