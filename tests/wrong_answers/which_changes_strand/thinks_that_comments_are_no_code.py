# says: a comment inside checkout_workflow: you said False
answer = {
    "a comment inside checkout_workflow": False,
    "a comment above checkout_workflow": False,
    "another result of look_up_customer": True,
    "a step put in between": True,
    "another workflow in the file": True,
}
