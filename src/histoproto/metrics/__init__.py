"""Figures of merit from one accumulated confusion matrix."""
