# says: another workflow in the file: you said False
answer = {
    "a comment inside checkout_workflow": True,
    "a comment above checkout_workflow": False,
    "another result of look_up_customer": False,
    "a step put in between": True,
    "another workflow in the file": False,
}
