"""Measurements that anyone can repeat; they print figures and assert nothing."""
