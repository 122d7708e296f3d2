"""Every way in. A door translates between its wire and the rooms, and decides nothing."""
