"""Lanes: processes that perform trials one at a time, each with a loop, a gateway and an agent.

The main process plans, keeps limits, stores and shows; what is measured happens in a lane, where no
other trial's work can delay it.
"""
