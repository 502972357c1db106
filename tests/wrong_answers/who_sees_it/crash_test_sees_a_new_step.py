# says: weigh is called before book: you said 'crash test'
answer = {
    "tell_customer names no parcel": "unit test",
    "book inserts without a look at what is there": "crash test",
    "weigh is called before book": "crash test",
    "weigh is called after tell_customer": "none",
}
