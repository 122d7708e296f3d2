from virtual_clock import VirtualClockLoop


def pytest_asyncio_loop_factories():
    return {"virtual-clock": VirtualClockLoop}
