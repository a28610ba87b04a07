"""Sources read evidence from the network. They may not judge it, store it or change anything."""
