# says: books twice, also without a crash, passes
import sqlalchemy as sa

from widget_store.crashtest import Workload, every_crash_point


class AParcel(Workload):
    app = "parcels.py"

    def set_up(self, db):
        db.execute(sa.text("CREATE TABLE bookings (parcel VARCHAR(40))"))

    def drive(self, app):
        app.start("send_parcel", "p-7", "p-7")
        app.send("p-7", True, "picked up")
        app.wait()

    def check(self, db):
        bookings = db.scalar(sa.text("SELECT count(*) FROM bookings WHERE parcel = 'p-7'"))
        if bookings == 0:
            yield f"p-7 has {bookings} bookings"


@every_crash_point(AParcel)
def test_a_parcel(crash):
    crash.must_be_safe()
