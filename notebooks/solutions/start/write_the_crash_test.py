import sqlalchemy as sa

from widget_store.crashtest import Workload, every_crash_point


class AParcel(Workload):
    app = "parcels.py"

    def set_up(self, db):
        db.execute(sa.text("CREATE TABLE bookings (parcel VARCHAR(40))"))

    def drive(self, app):
        """Send the parcel "p-7", and let the driver pick it up."""

    def check(self, db):
        """Yield a sentence for each thing that is wrong in the end."""


@every_crash_point(AParcel)
def test_a_parcel(crash):
    crash.must_be_safe()
